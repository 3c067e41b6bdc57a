"""GPT-2's forward pass (Radford et al. 2019) on a CPU, over a key-value cache with slots.

Weights come from transformers' GPT2LMHeadModel, any size. Text and scheduling are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.attention import attention, cut
from worker.engine.cpu.linear import BLOCK, PART, Blocked, Given, Linear, Made, given, linear, room, row_multiple, trial
from worker.engine.cpu.norm import add_and_norm, embed, products
from worker.engine.cpu.row_multiples import row_multiple_of
from worker.engine.forward import Logits, Numbers, Rows
from worker.engine.kv_cache import CacheShape, KVCache
from worker.engine.sampling.sampler import Choice, sample
from worker.engine.sampling.state import SamplingState
from worker.padding import filled_up

ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")

ROWS_APART = 32
"""Padding costs one row in so many at most."""


def unsupported(config: Any) -> str | None:
    """Why this module cannot run a model of that configuration; None where it can."""
    if config.model_type != "gpt2":
        return f"its model_type is {config.model_type!r}"
    if config.activation_function not in ACTIVATIONS:
        return f"its activation is {config.activation_function!r}"
    if config.add_cross_attention:
        return "it has cross-attention"
    return "it is quantised" if getattr(config, "quantization_config", None) else None


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm's parameters."""

    weight: npt.NDArray[np.float32]  # [width]
    bias: npt.NDArray[np.float32]  # [width]


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer block."""

    attention_norm: Norm
    qkv: Linear  # width to 3 * width
    attention_out: Linear  # width to width
    mlp_norm: Norm
    mlp_in: Linear  # width to inner; GELU follows
    mlp_out: Linear  # inner to width
    attention_scale: np.float32


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
        ensure_compiled(dtype, self.cache_shape.head_dim)
        self._attend = attention(self.cache_shape.head_dim)
        tokens = weights["transformer.wte.weight"]
        # Copies, here and below: a tensor that is only looked at would keep the whole checkpoint in memory.
        self._tokens = tokens.to(stored, copy=True)  # [vocabulary, width]
        self._places = weights["transformer.wpe.weight"].to(stored, copy=True)  # [positions, width]
        builder = _Builder(config, weights, dtype, self.threads)
        # The head first: making it takes the most memory, and weights that were read stay mapped until all are.
        head = weights.get("lm_head.weight", tokens).float()  # [vocabulary, width]
        self._centre = head.mean(dim=0)  # [width]
        centred = torch.empty(head.shape, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
        for part, result in zip(torch.split(head, PART), torch.split(centred, PART), strict=True):
            result.copy_(part - self._centre)
        self._head = builder.linear(centred, None)
        del centred
        self._layers = [builder.layer(index) for index in range(config.n_layer)]
        self._norm = builder.norm("transformer.ln_f")
        self.multiple = builder.multiple

    def new_cache(self, slots: int) -> KVCache:
        return KVCache(self.cache_shape, slots, torch.device("cpu"))

    @torch.inference_mode()
    def forward(self, rows: Rows, cache: KVCache) -> Logits:
        """Compute rows, and store their keys and values."""
        count = len(rows.tokens)
        hidden = self._embed(rows)  # [padded, width], float32
        normed, mixed = (room(hidden.shape, self.dtype) for _ in range(2))
        places = (cache.tables[rows.slots], rows.positions, cut(rows.positions, self.threads))
        addition = Made(hidden[:0])
        for index, layer in enumerate(self._layers):
            self._add_and_norm(hidden, addition, layer.attention_norm, normed)
            projected = layer.qkv(normed).first(count)  # [rows, 3 * width]
            self._attend(
                *projected.parts,
                cache.layer(index),
                *places,
                layer.attention_scale,
                as_array(mixed.values),
                mixed.scales,
            )
            if layer is self._layers[-1]:  # of the other rows only the keys and values matter
                chosen = self._chosen(rows.wanted)
                hidden, mixed, normed = hidden[chosen], mixed.chosen(chosen), normed.first(len(chosen))
            self._add_and_norm(hidden, layer.attention_out(mixed), layer.mlp_norm, normed)
            addition = layer.mlp_out(layer.mlp_in.activated(normed))
        return self._logits(hidden, addition, len(rows.wanted))

    def sample(self, logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
        """Of the logits that `forward` gave; see worker.engine.sampling.sampler."""
        return sample(logits, states)

    def _embed(self, rows: Rows) -> torch.Tensor:
        hidden = torch.empty(self._padded(len(rows.tokens)), self.width)
        tables = (as_array(self._tokens), as_array(self._places))
        embed(*tables, rows.tokens, rows.positions, self.threads, hidden.numpy())
        return hidden

    def _padded(self, rows: int) -> int:
        """How many rows to compute where `rows` are needed."""
        return filled_up(rows, ROWS_APART, self.multiple)

    def _add_and_norm(self, hidden: torch.Tensor, addition: Made, norm: Norm, normed: Given) -> None:
        parts = (hidden.numpy(), *addition.parts, norm.weight, norm.bias)
        add_and_norm(*parts, self._epsilon, self.threads, as_array(normed.values), normed.scales)

    def _chosen(self, wanted: Numbers) -> torch.Tensor:
        """The wanted rows, and row 0 as often as it takes to fill up their number."""
        return torch.from_numpy(np.concatenate([wanted, np.zeros(self._padded(len(wanted)) - len(wanted), np.int64)]))

    def _logits(self, hidden: torch.Tensor, addition: Made, count: int) -> Logits:
        normed = Given(torch.empty(hidden.shape))
        self._add_and_norm(hidden, addition, self._norm, normed)
        offsets = np.empty(count, np.float32)
        products(normed.values.numpy()[:count], self._centre.numpy(), offsets)
        made = self._head(given(normed.values, self.dtype, self.threads)).first(count)
        return Logits(made.values, offsets, made.scales if len(made.scales) else None)


class _Builder:
    """Makes layers from weights by their names."""

    def __init__(self, config: Any, weights: dict[str, torch.Tensor], dtype: str, threads: int) -> None:
        self._config, self._weights, self._dtype, self._threads = config, weights, dtype, threads
        self.multiple = 1

    def layer(self, index: int) -> Layer:
        prefix, config = f"transformer.h.{index}", self._config
        scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        return Layer(
            attention_norm=self.norm(f"{prefix}.ln_1"),
            qkv=self._affine(f"{prefix}.attn.c_attn"),
            attention_out=self._affine(f"{prefix}.attn.c_proj"),
            mlp_norm=self.norm(f"{prefix}.ln_2"),
            mlp_in=self._affine(f"{prefix}.mlp.c_fc", gelu=True),
            mlp_out=self._affine(f"{prefix}.mlp.c_proj"),
            attention_scale=np.float32(scale / (index + 1) if config.scale_attn_by_inverse_layer_idx else scale),
        )

    def norm(self, name: str) -> Norm:
        parts = (self._weights[f"{name}.{part}"] for part in ("weight", "bias"))
        return Norm(*(part.to(torch.float32, copy=True).numpy() for part in parts))

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool = False) -> Linear:
        layer = linear(weight, bias, self._dtype, self._threads)
        kind = (*weight.shape, gelu, self._dtype, self._threads)  # its weights do not matter
        product = layer.activated if gelu else layer
        rows = (weight.shape[1], self._dtype, self._threads)
        multiple = row_multiple_of(kind, lambda: row_multiple(product, trial(*rows)))
        self.multiple = max(self.multiple, multiple or BLOCK)
        return layer if multiple else Blocked(layer)

    def _affine(self, name: str, gelu: bool = False) -> Linear:
        # transformers keeps GPT-2's linear layers as [in, out].
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self.linear(weight.float().t(), bias.to(torch.float32, copy=True), gelu)
