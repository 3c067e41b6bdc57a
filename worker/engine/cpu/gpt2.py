"""GPT-2's forward pass (Radford et al. 2019) on a CPU, over a key-value cache with slots.

Weights come from transformers' GPT2LMHeadModel, any size. Text and scheduling are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.attention import NOT_ROTATED, CacheRows, attend, plain_rules, share_out
from worker.engine.cpu.batch_invariant import batch_invariant
from worker.engine.cpu.linear import CHUNK, Activations, Linear, Products, activations, empty_activations
from worker.engine.cpu.norm import add_and_norm, dot_products, embed
from worker.engine.forward import Indices, Logits, Rows
from worker.engine.gpt2_weights import GPT2Builder, Norm
from worker.engine.kv_cache import CacheShape, KVCache
from worker.engine.sampling.sampler import Choice, sample
from worker.engine.sampling.state import SamplingState
from worker.padding import filled_up

ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")

ROWS_APART = 32
"""Padding costs one row in so many at most."""


def supports(config: Any) -> bool:
    """Whether this module can run a model of that configuration."""
    gpt2 = config.model_type == "gpt2" and not config.add_cross_attention
    return gpt2 and config.activation_function in ACTIVATIONS


class GPT2:
    """The model. A row comes out with the same bits whatever rows are computed beside it.

    The residual stream, the norms and attention's sums are float32 in every dtype.
    """

    def __init__(self, config: Any, weights: dict[str, torch.Tensor], dtype: str = "fp32") -> None:
        """
        Args:
            weights: as in GPT2LMHeadModel's state_dict.
            dtype: one of contract.spec.DTYPES; what weights and products are computed in.
        """
        self.dtype, self.threads = dtype, torch.get_num_threads()
        self.heads, self.width = config.n_head, config.n_embd
        self.positions, self.vocabulary = config.n_positions, config.vocab_size
        self._epsilon = np.float32(config.layer_norm_epsilon)
        stored = torch.float32 if dtype == "fp32" else torch.bfloat16
        cached = torch.int8 if dtype == "int8" else stored
        self.cache_shape = CacheShape(config.n_layer, self.heads, self.positions, self.width // self.heads, cached)
        ensure_compiled(dtype)
        builder = _CPUBuilder(config, weights, dtype, self.threads)
        self._token_embedding = builder.token_embedding(stored)
        self._position_embedding = builder.position_embedding(stored)
        # The head first: making it takes the most memory, and weights that were read stay mapped until all are.
        self._head, self._centre = builder.head()
        self._layers = builder.layers()
        self._norm = builder.norm("transformer.ln_f")
        self.multiple = builder.multiple

    def new_cache(self, slots: int) -> KVCache:
        return KVCache(self.cache_shape, slots, torch.device("cpu"))

    @torch.inference_mode()
    def forward(self, rows: Rows, cache: KVCache) -> Logits:
        """Compute rows, and store their keys and values."""
        count = len(rows.tokens)
        hidden = self._embed(rows)  # [padded, width], float32
        normed, attended = (empty_activations(hidden.shape, self.dtype) for _ in range(2))
        attended.values[count:].zero_()
        places = CacheRows(cache.tables[rows.slots], rows.positions, share_out(rows.positions, self.threads))
        addition = Products(hidden[:0])
        for index, layer in enumerate(self._layers):
            self._add_and_norm(hidden, addition, layer.attention_norm, normed)
            projected = layer.qkv(normed).first(count)  # [rows, 3 * width]
            rules = plain_rules(layer.attention_scale, self.heads)
            attend(projected.arrays, NOT_ROTATED, cache.layer(index), places, rules, attended.arrays)
            if layer is self._layers[-1]:  # of the other rows only the keys and values matter
                chosen = self._chosen(rows.wanted)
                hidden, attended, normed = hidden[chosen], attended.chosen(chosen), normed.first(len(chosen))
            self._add_and_norm(hidden, layer.attention_out(attended), layer.mlp_norm, normed)
            addition = layer.mlp_out(layer.mlp_in.activated(normed))
        return self._logits(hidden, addition, len(rows.wanted))

    def sample(self, logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
        """Of the logits that `forward` gave; see worker.engine.sampling.sampler."""
        return sample(logits, states)

    def _embed(self, rows: Rows) -> torch.Tensor:
        hidden = torch.empty(self._padded(len(rows.tokens)), self.width)
        embeddings = (as_array(self._token_embedding), as_array(self._position_embedding))
        embed(*embeddings, rows.tokens, rows.positions, self.threads, hidden.numpy())
        return hidden

    def _padded(self, rows: int) -> int:
        """How many rows to compute where `rows` are needed."""
        return filled_up(rows, ROWS_APART, self.multiple)

    def _add_and_norm(self, hidden: torch.Tensor, addition: Products, norm: Norm, normed: Activations) -> None:
        add_and_norm(hidden.numpy(), addition.arrays, norm, self._epsilon, self.threads, normed.arrays)

    def _chosen(self, wanted: Indices) -> torch.Tensor:
        """The wanted rows, and row 0 as often as it takes to fill up their number."""
        return torch.from_numpy(np.concatenate([wanted, np.zeros(self._padded(len(wanted)) - len(wanted), np.int64)]))

    def _logits(self, hidden: torch.Tensor, addition: Products, count: int) -> Logits:
        normed = Activations(torch.empty(hidden.shape))
        self._add_and_norm(hidden, addition, self._norm, normed)
        offsets = np.empty(count, np.float32)
        dot_products(normed.values.numpy()[:count], self._centre.numpy(), offsets)
        products = self._head(activations(normed.values, self.dtype, self.threads)).first(count)
        return Logits(products.values, offsets, products.scales if len(products.scales) else None)


class _CPUBuilder(GPT2Builder[Linear]):
    def __init__(self, config: Any, weights: dict[str, torch.Tensor], dtype: str, threads: int) -> None:
        super().__init__(config, weights, torch.device("cpu"))
        self._dtype, self._threads = dtype, threads
        self.multiple = 1  # in which rows come out alike of every layer made so far

    def norm(self, name: str) -> Norm:
        return Norm(*(part.numpy() for part in super().norm(name)))

    def linear(self, name: str, *, gelu: bool = False) -> Linear:
        # transformers keeps GPT-2's linear layers as [in, out].
        weight = self._weights[f"{name}.weight"].float().t()
        return self._batch_invariant(weight, self.copied(f"{name}.bias", torch.float32), gelu)

    def head(self) -> tuple[Linear, torch.Tensor]:
        """The output layer without the mean of its weights, and that mean, [width]."""
        head = self._weights[self.head_name].float()  # [vocabulary, width]
        mean = head.mean(dim=0)
        centred = torch.empty(head.shape, dtype=torch.bfloat16 if self._dtype == "bf16" else torch.float32)
        for part, result in zip(torch.split(head, CHUNK), torch.split(centred, CHUNK), strict=True):
            result.copy_(part - mean)
        return self._batch_invariant(centred, None), mean

    def _batch_invariant(self, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool = False) -> Linear:
        layer, multiple = batch_invariant(weight, bias, self._dtype, self._threads, gelu=gelu)
        self.multiple = max(self.multiple, multiple)
        return layer
