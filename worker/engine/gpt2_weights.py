"""GPT-2's weights, by what they are for. How a device multiplies by them is not known here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch

LinearT = TypeVar("LinearT")  # a device's linear layer


class Norm(NamedTuple):
    """A layer norm's parameters, float32: arrays for compiled code, tensors for a GPU."""

    weight: Any  # [width]
    bias: Any  # [width]


@dataclass(frozen=True, slots=True)
class GPT2Layer(Generic[LinearT]):
    """One transformer block."""

    attention_norm: Norm
    qkv: LinearT  # width to 3 * width
    attention_out: LinearT  # width to width
    mlp_norm: Norm
    mlp_in: LinearT  # width to inner; GELU follows
    mlp_out: LinearT  # inner to width
    attention_scale: float  # what queries are multiplied by


class GPT2Builder(ABC, Generic[LinearT]):
    """Makes layers for a device from weights by their names in GPT2LMHeadModel's state_dict."""

    def __init__(self, config: Any, weights: dict[str, torch.Tensor], device: torch.device) -> None:
        self._config, self._weights, self._device = config, weights, device

    @abstractmethod
    def linear(self, name: str, *, gelu: bool = False) -> LinearT:
        """
        Args:
            gelu: whether GELU follows.
        """

    def layers(self) -> list[GPT2Layer[LinearT]]:
        return [self._layer(index) for index in range(self._config.n_layer)]

    def norm(self, name: str) -> Norm:
        return Norm(*(self.copied(f"{name}.{part}", torch.float32) for part in ("weight", "bias")))

    def token_embedding(self, dtype: torch.dtype) -> torch.Tensor:
        """[vocabulary, width]."""
        return self.copied("transformer.wte.weight", dtype)

    def position_embedding(self, dtype: torch.dtype) -> torch.Tensor:
        """[positions, width]."""
        return self.copied("transformer.wpe.weight", dtype)

    @property
    def head_name(self) -> str:
        """The output layer's, [vocabulary, width]: it may be the token embedding."""
        return "lm_head.weight" if "lm_head.weight" in self._weights else "transformer.wte.weight"

    def copied(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """A view would keep the whole checkpoint in memory."""
        return self._weights[name].to(self._device, dtype, copy=True)

    def _layer(self, index: int) -> GPT2Layer[LinearT]:
        prefix = f"transformer.h.{index}"
        return GPT2Layer(
            attention_norm=self.norm(f"{prefix}.ln_1"),
            qkv=self.linear(f"{prefix}.attn.c_attn"),
            attention_out=self.linear(f"{prefix}.attn.c_proj"),
            mlp_norm=self.norm(f"{prefix}.ln_2"),
            mlp_in=self.linear(f"{prefix}.mlp.c_fc", gelu=True),
            mlp_out=self.linear(f"{prefix}.mlp.c_proj"),
            attention_scale=self._attention_scale(index),
        )

    def _attention_scale(self, index: int) -> float:
        config = self._config
        scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        return float(scale / (index + 1) if config.scale_attn_by_inverse_layer_idx else scale)
