"""GPT-2's forward pass on a GPU, over a key-value cache with slots. Everything is queued; nothing waits for the device.

cuBLAS chooses its kernel by the number of rows. So every product here has exactly ROWS of them, always: a row's bits
cannot depend on how many are beside it. That one shape is also all that a CUDA graph has to know. A CPU can compute
it too, slowly, which is how it is tested; nothing was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import structlog
import torch
import torch.nn.functional as F

from worker.engine.cuda.attention import attention, store
from worker.engine.cuda.graph import Function, record
from worker.engine.cuda.sampler import sample
from worker.engine.forward import Logits, Rows
from worker.engine.gpt2_weights import GPT2Builder, Norm
from worker.engine.kv_cache import BLOCK, CacheShape, KVCache
from worker.engine.sampling.sampler import Choice
from worker.engine.sampling.state import SamplingState
from worker.engine.sampling.truncation import GROUP

ROWS = 256
"""Of every product. Another number is another kernel, and other bits."""

TOKEN, POSITION, WANTED, TABLE = range(4)  # columns of a block's input; the table takes all from TABLE on

Table = npt.NDArray[np.int32]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Affine:
    """A linear layer."""

    weight: torch.Tensor  # [out, in]
    bias: torch.Tensor  # [out]


class CudaGPT2:
    """The model. A row comes out with the same bits whatever rows are computed beside it.

    The residual stream, the norms, attention's sums and the logits are float32 in both dtypes.
    """

    def __init__(
        self, config: Any, weights: dict[str, torch.Tensor], dtype: str, device: torch.device, rows: int = ROWS
    ) -> None:
        """
        Args:
            weights: as in GPT2LMHeadModel's state_dict.
            dtype: "fp32" or "bf16"; what weights and products are computed in.
            rows: of every product.
        """
        self._rows = rows
        self.positions, self.vocabulary = config.n_positions, config.vocab_size
        self._device, self._epsilon = device, config.layer_norm_epsilon
        self._dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
        head_dim = config.n_embd // config.n_head
        self.cache_shape = CacheShape(config.n_layer, config.n_head, self.positions, head_dim, self._dtype)
        self._attend = attention(device)
        self._passes: WeakKeyDictionary[KVCache, Function] = WeakKeyDictionary()
        builder = _CudaBuilder(config, weights, device, self._dtype)
        self._token_embedding = builder.token_embedding(self._dtype)
        self._position_embedding = builder.position_embedding(self._dtype)
        self._layers = builder.layers()
        self._norm = builder.norm("transformer.ln_f")
        self._head = builder.head()  # [width, columns]
        if device.type == "cuda":
            _sum_in_float32()
            self._check_products()

    def new_cache(self, slots: int) -> KVCache:
        return KVCache(self.cache_shape, slots, self._device)

    @torch.inference_mode()
    def forward(self, rows: Rows, cache: KVCache) -> Logits:
        """Compute rows, and store their keys and values.

        The logits have rows up to a multiple of the model's rows, and columns up to a multiple of GROUP, where they are
        minus infinity. Offsets are 0.
        """
        blocks, counts = _blocks(rows, cache.tables, self._rows)
        with self._current():
            parts = [
                self._pass(cache, block)(block).index_select(0, block[:count, WANTED])  # [wanted, width]
                for block, count in zip(self._to_device(torch.from_numpy(blocks)), counts, strict=True)
            ]
            logits = self._logits(torch.cat(parts))
        return Logits(logits, np.zeros(len(rows.wanted), np.float32))

    @torch.inference_mode()
    def sample(self, logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
        """Of the logits that `forward` gave; see worker.engine.sampling.sampler."""
        with self._current():
            return sample(logits.values, self.vocabulary, states, self._rows)

    def _current(self) -> AbstractContextManager[Any]:
        """Triton launches on the current device."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        """On the device. The copy is queued: torch uses pinned memory again only when its copy is done."""
        if self._device.type == "cpu":
            return inputs
        return inputs.pin_memory().to(self._device, non_blocking=True)

    def _pass(self, cache: KVCache, block: torch.Tensor) -> Function:
        """How a block is computed over this cache: on a GPU as a graph, which holds the cache's place in memory."""
        function = self._passes.get(cache)
        if function is None:
            function = partial(self._block, keys=cache.keys, values=cache.values)
            if self._device.type == "cuda":
                function = record(function, block)
            self._passes[cache] = function
        return function

    def _block(self, block: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The residual stream after the last layer, [rows, width], float32.

        Args:
            block: [rows, TABLE + blocks a sequence], int32.
            keys, values: [layers, blocks, heads, BLOCK, head_dim].
        """
        positions, tables = block[:, POSITION], block[:, TABLE:]
        pages = tables.gather(1, (positions // BLOCK).long()[:, None])[:, 0].long()  # [rows]
        places = (positions % BLOCK).long()  # [rows]
        hidden = F.embedding(block[:, TOKEN], self._token_embedding).float()
        hidden += F.embedding(positions, self._position_embedding)
        for index, layer in enumerate(self._layers):
            projected = self._product(self._normed(hidden, layer.attention_norm), layer.qkv)  # [rows, 3 * width]
            store(projected, keys[index], values[index], pages, places)
            mixed = self._attend(projected, keys[index], values[index], tables, positions, layer.attention_scale)
            hidden += self._product(mixed, layer.attention_out)
            inner = self._product(self._normed(hidden, layer.mlp_norm), layer.mlp_in)
            hidden += self._product(F.gelu(inner, approximate="tanh"), layer.mlp_out)
        return hidden

    def _normed(self, hidden: torch.Tensor, norm: Norm) -> torch.Tensor:
        return F.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, self._epsilon).to(self._dtype)

    def _product(self, rows: torch.Tensor, layer: Affine) -> torch.Tensor:
        return F.linear(rows, layer.weight, layer.bias)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Of hidden [wanted, width]: [rows, columns], float32."""
        parts: Any = torch.split(F.pad(hidden, (0, 0, 0, -len(hidden) % self._rows)), self._rows)
        blocks = [self._to_vocabulary(self._normed(part, self._norm)) for part in parts]
        logits = torch.cat(blocks) if len(blocks) != 1 else blocks[0]
        logits[:, self.vocabulary :] = -torch.inf
        return logits

    def _to_vocabulary(self, rows: torch.Tensor) -> torch.Tensor:
        if self._dtype == torch.float32 or self._device.type == "cpu":  # a CPU has none with a result of another dtype
            return rows.float() @ self._head.float()
        return torch.mm(rows, self._head, out_dtype=torch.float32)

    def _check_products(self) -> None:
        """Whether a row's place in a block matters; it does where cuBLAS cuts the sums of some rows otherwise."""
        layer = self._layers[0]
        for name in ("qkv", "attention_out", "mlp_in", "mlp_out"):
            affine: Affine = getattr(layer, name)
            row = torch.randn(1, affine.weight.shape[1], device=self._device).to(self._dtype)
            products = self._product(row.repeat(self._rows, 1), affine)
            if not torch.equal(products, products[:1].expand_as(products)):
                log.warning("texts may depend on what is generated beside them on this GPU", layer=name)


class _CudaBuilder(GPT2Builder[Affine]):
    def __init__(self, config: Any, weights: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(config, weights, device)
        self._dtype = dtype

    def linear(self, name: str, *, gelu: bool = False) -> Affine:
        # transformers keeps GPT-2's linear layers as [in, out].
        weight = self.copied(f"{name}.weight", self._dtype).t().contiguous()
        return Affine(weight, self.copied(f"{name}.bias", self._dtype))

    def head(self) -> torch.Tensor:
        """[width, columns], columns a multiple of GROUP: aligned rows of logits, and a product that fits the tiles."""
        head = self.copied(self.head_name, self._dtype)
        return F.pad(head, (0, 0, 0, -len(head) % GROUP)).t()


def _blocks(rows: Rows, tables: Table, size: int) -> tuple[Table, list[int]]:
    """The device's inputs, [blocks, size, TABLE + blocks a sequence], and how many rows each block wants.

    A block is padded with its first row: computed again, it writes what is there already.
    """
    blocks = -(-len(rows.tokens) // size)
    padded = np.arange(blocks * size)
    padded[len(rows.tokens) :] = (blocks - 1) * size
    inputs = np.zeros((blocks, size, TABLE + tables.shape[1]), np.int32)
    inputs[:, :, TOKEN] = rows.tokens[padded].reshape(blocks, size)
    inputs[:, :, POSITION] = rows.positions[padded].reshape(blocks, size)
    inputs[:, :, TABLE:] = tables[rows.slots[padded]].reshape(blocks, size, -1)
    wanted = [rows.wanted[rows.wanted // size == number] % size for number in range(blocks)]
    for number, places in enumerate(wanted):
        inputs[number, : len(places), WANTED] = places
    return inputs, [len(places) for places in wanted]


def _sum_in_float32() -> None:
    """No TF32 for float32, and no bfloat16 sums where a product is cut into parts."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
