"""Keys and values of every position that was computed, in one place that never grows.

Which sequence owns a slot is the scheduler's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

ALIGNMENT = 32  # positions; keeps every slot on a 64-byte boundary, where kernels round alike


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one slot holds."""

    layers: int
    heads: int
    positions: int
    head_dim: int
    dtype: torch.dtype

    @property
    def aligned_positions(self) -> int:
        return -(-self.positions // ALIGNMENT) * ALIGNMENT

    @property
    def slot_bytes(self) -> int:
        """How much memory one slot takes at most."""
        numbers = 2 * self.layers * self.heads * self.aligned_positions * self.head_dim
        return numbers * self.dtype.itemsize


class KVCache:
    """A static cache. Memory that no position was written to is not even touched on a CPU."""

    def __init__(self, shape: CacheShape, slots: int, device: torch.device) -> None:
        dimensions = (shape.layers, slots, shape.heads, shape.aligned_positions, shape.head_dim)
        self.keys = torch.empty(dimensions, dtype=shape.dtype, device=device)
        self.values = torch.empty(dimensions, dtype=shape.dtype, device=device)

    def fill(self, layer: int, slot: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write a prompt's keys and values, [heads, length, head_dim], from position 0 on."""
        self.keys[layer, slot, :, : keys.shape[1]] = keys
        self.values[layer, slot, :, : values.shape[1]] = values

    def append(
        self, layer: int, places: tuple[torch.Tensor, torch.Tensor], keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Write one position in each of several slots.

        Args:
            places: the slots and the positions, [rows] each.
            keys, values: [rows, heads, head_dim]
        """
        slots, positions = places
        self.keys[layer, slots, :, positions] = keys
        self.values[layer, slots, :, positions] = values

    def read(self, layer: int, slot: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A slot's keys and values so far: views, [heads, length, head_dim] each."""
        return self.keys[layer, slot, :, :length], self.values[layer, slot, :, :length]
