"""GPT-2's forward pass (Radford et al. 2019) over a key-value cache with slots.

Weights come from transformers' GPT2LMHeadModel, any size. Sampling, text and scheduling are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from worker.engine.kv_cache import CacheShape, KVCache
from worker.engine.rows import RowLayers

ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")


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
class Affine:
    """A linear layer's or a layer norm's parameters."""

    weight: torch.Tensor  # [out, in], or [width]
    bias: torch.Tensor  # [out], or [width]


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer block."""

    attention_norm: Affine
    qkv: Affine  # [3 * width, width]
    attention_out: Affine  # [width, width]
    mlp_norm: Affine
    mlp_in: Affine  # [inner, width]
    mlp_out: Affine  # [width, inner]
    attention_scale: float


class GPT2:
    """The model. Every method gives the same bits for a row whatever rows are computed beside it.

    Attention is computed in float32, and so are the last norm and the logits: bfloat16 has 8 bits, and
    GPT-2's logits lie around -100, where neighbouring bfloat16 numbers are 0.5 apart.
    """

    def __init__(self, config: Any, weights: dict[str, torch.Tensor]) -> None:
        self.heads, self.width = config.n_head, config.n_embd
        self.positions, self.vocabulary = config.n_positions, config.vocab_size
        self.head_dim, self._epsilon = self.width // self.heads, config.layer_norm_epsilon
        self._tokens = weights["transformer.wte.weight"]  # [vocabulary, width]
        self._places = weights["transformer.wpe.weight"]  # [positions, width]
        self._layers = [_layer(config, weights, index) for index in range(config.n_layer)]
        self._norm = Affine(*(weights[f"transformer.ln_f.{name}"].float() for name in ("weight", "bias")))
        self._head = weights.get("lm_head.weight", self._tokens).float()  # [vocabulary, width]
        linears = (
            affine.weight
            for layer in self._layers[:1]
            for affine in (layer.qkv, layer.attention_out, layer.mlp_in, layer.mlp_out)
        )
        self.rows = RowLayers([*linears, self._head])

    @property
    def device(self) -> torch.device:
        return self._tokens.device

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(len(self._layers), self.heads, self.positions, self.head_dim, self._tokens.dtype)

    def new_cache(self, slots: int) -> KVCache:
        return KVCache(self.cache_shape, slots, self.device)

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], slot: int, cache: KVCache) -> torch.Tensor:
        """Compute a prompt alone, from position 0.

        Args:
            tokens: [length], at least one.

        Returns:
            The logits after the last token, [1, vocabulary], float32.
        """
        length = len(tokens)
        places = [min(place, self.positions - 1) for place in range(self.rows.padded(length))]
        hidden = self._embed(tokens, places)  # [padded, width]
        for index, layer in enumerate(self._layers):
            parts = self._heads(hidden, layer)  # [padded, heads, head_dim] each
            query, key, value = (part.transpose(0, 1) for part in parts)  # [heads, padded, head_dim] each
            cache.fill(index, slot, key[:, :length], value[:, :length])
            mixed = attend(query, key, value, layer.attention_scale, causal=True)
            hidden = self._finish(hidden, mixed.transpose(0, 1), layer)
        return self._logits(hidden[length - 1 : length])

    @torch.inference_mode()
    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], cache: KVCache
    ) -> torch.Tensor:
        """Compute one more token of several sequences.

        Args:
            tokens, positions, slots: [rows]: the newest token, where it stands, and whose it is.

        Returns:
            [rows, vocabulary], float32.
        """
        rows = len(tokens)
        padding = [0] * (self.rows.padded(rows) - rows)
        hidden = self._embed(tokens, [*positions, *padding])  # [padded, width]
        places = (torch.tensor(slots, device=self.device), torch.tensor(positions, device=self.device))
        for index, layer in enumerate(self._layers):
            query, key, value = self._heads(hidden, layer)  # [padded, heads, head_dim] each
            cache.append(index, places, key[:rows], value[:rows])
            mixed = torch.zeros_like(query)
            for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
                # Exactly the row's own keys: a longer, masked row would be summed in another order.
                keys, values = cache.read(index, slot, position + 1)
                mixed[row] = attend(query[row].unsqueeze(1), keys, values, layer.attention_scale).squeeze(1)
            hidden = self._finish(hidden, mixed, layer)
        return self._logits(hidden[:rows])

    def _embed(self, tokens: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        padded = [*tokens, *[0] * (len(places) - len(tokens))]
        ids, positions = (torch.tensor(numbers, device=self.device) for numbers in (padded, places))
        return self._tokens[ids] + self._places[positions]

    def _heads(self, hidden: torch.Tensor, layer: Layer) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, [padded, heads, head_dim] each."""
        normed = self._normed(hidden, layer.attention_norm)
        projected = self.rows.linear(normed, layer.qkv.weight, layer.qkv.bias)
        return projected.view(-1, 3, self.heads, self.head_dim).unbind(1)

    def _finish(self, hidden: torch.Tensor, mixed: torch.Tensor, layer: Layer) -> torch.Tensor:
        """The rest of a block: project the attention's result, [padded, heads, head_dim], then the MLP."""
        linear = self.rows.linear
        mixed = mixed.reshape(-1, self.width).to(hidden.dtype)
        hidden = hidden + linear(mixed, layer.attention_out.weight, layer.attention_out.bias)
        inner = linear(self._normed(hidden, layer.mlp_norm), layer.mlp_in.weight, layer.mlp_in.bias)
        return hidden + linear(self.rows.gelu_new(inner), layer.mlp_out.weight, layer.mlp_out.bias)

    def _normed(self, hidden: torch.Tensor, norm: Affine) -> torch.Tensor:
        return F.layer_norm(hidden, (self.width,), norm.weight, norm.bias, self._epsilon)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, width] to [rows, vocabulary]."""
        rows = hidden.shape[0]
        padded = F.pad(hidden.float(), (0, 0, 0, self.rows.padded(rows) - rows))
        return self.rows.linear(self._normed(padded, self._norm), self._head)[:rows]


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, *, causal: bool = False
) -> torch.Tensor:
    """Scaled dot-product attention in float32, written out: torch's fused kernel rounds by thread.

    Args:
        query: [heads, queries, head_dim]
        keys, values: [heads, length, head_dim]
        causal: query i sees keys 0 to i.

    Returns:
        [heads, queries, head_dim], float32.
    """
    scores = torch.bmm(query.float() * scale, keys.float().transpose(1, 2))  # [heads, queries, length]
    if causal:
        later = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
        scores.masked_fill_(later, float("-inf"))
    return torch.bmm(torch.softmax(scores, dim=-1), values.float())


def _layer(config: Any, weights: dict[str, torch.Tensor], index: int) -> Layer:
    def affine(name: str) -> Affine:
        prefix = f"transformer.h.{index}.{name}"
        # transformers keeps GPT-2's linear layers as [in, out]; a norm's one dimension stays as it is.
        return Affine(weights[f"{prefix}.weight"].t().contiguous(), weights[f"{prefix}.bias"])

    scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    return Layer(
        attention_norm=affine("ln_1"),
        qkv=affine("attn.c_attn"),
        attention_out=affine("attn.c_proj"),
        mlp_norm=affine("ln_2"),
        mlp_in=affine("mlp.c_fc"),
        mlp_out=affine("mlp.c_proj"),
        attention_scale=scale / (index + 1) if config.scale_attn_by_inverse_layer_idx else scale,
    )
