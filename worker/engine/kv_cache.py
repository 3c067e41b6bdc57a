"""Keys and values of every position that was computed, in one place that never grows.

Which sequence owns a slot is the scheduler's business.
"""

from __future__ import annotations

import torch

ALIGNMENT = 32  # positions; keeps every slot on a 64-byte boundary, where kernels round alike


class KVCache:
    """A static cache. Memory that no position was written to is not even touched on a CPU."""

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        positions: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, slots, heads, _aligned(positions), head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    def fill(self, layer: int, slot: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write a prompt's keys and values, [heads, length, head_dim], from position 0 on."""
        self.keys[layer, slot, :, : keys.shape[1]] = keys
        self.values[layer, slot, :, : values.shape[1]] = values

    def append(
        self, layer: int, slots: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Write one position of several slots: `slots` and `positions` [rows], the others [rows, heads, head_dim]."""
        self.keys[layer, slots, :, positions] = keys
        self.values[layer, slots, :, positions] = values

    def read(self, layer: int, slot: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A slot's keys and values so far: views, [heads, length, head_dim] each."""
        return self.keys[layer, slot, :, :length], self.values[layer, slot, :, :length]


def slot_bytes(layers: int, heads: int, positions: int, head_dim: int, dtype: torch.dtype) -> int:
    """How much memory one slot takes at most."""
    return 2 * layers * heads * _aligned(positions) * head_dim * dtype.itemsize


def _aligned(positions: int) -> int:
    return -(-positions // ALIGNMENT) * ALIGNMENT
