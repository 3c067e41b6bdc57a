"""Keys and values of every position that was computed, in blocks that sequences hold and can share.

A sequence gets a slot only with blocks for its whole length set aside, so that none ever has to wait for one or to
give one up. Memory that no block in use lies on is not even touched on a CPU. Which sequence owns a slot is the
scheduler's business.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from worker.engine.compiled.float_bits import as_array

BLOCK = 32  # positions that lie together


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one slot holds, and what all of them may take."""

    layers: int
    heads: int
    positions: int
    head_dim: int
    dtype: torch.dtype
    memory: int | None = None  # bytes of all slots together; None = what they take at full length

    @property
    def blocks(self) -> int:
        """How many blocks a sequence of full length takes."""
        return -(-self.positions // BLOCK)

    @property
    def slot_bytes(self) -> int:
        """How much memory one slot takes at most."""
        return self.blocks * self._block_bytes

    def blocks_of(self, slots: int) -> int:
        """How many blocks a cache has: enough for every slot at full length, or for the memory, and always for one."""
        most = slots * self.blocks
        return most if self.memory is None else max(self.blocks, min(most, self.memory // self._block_bytes))

    @property
    def _block_bytes(self) -> int:
        scale = 4 if self.dtype == torch.int8 else 0
        return 2 * self.layers * self.heads * BLOCK * (self.head_dim * self.dtype.itemsize + scale)


class LayerCache(NamedTuple):
    """One layer's part of a cache, as compiled code reads and writes it."""

    keys: Any  # [blocks, heads, BLOCK, head_dim], float32, uint16, which stands for bfloat16, or int8
    key_scales: Any  # [blocks, heads, BLOCK], float32
    values: Any  # as keys; on a CPU a block's keys lie the other way round, [head_dim, BLOCK] in the same memory
    value_scales: Any  # as key_scales


class KVCache:
    """`keys` and `values` are [layers, blocks, heads, BLOCK, head_dim]; a slot's row of `tables` says which
    blocks are its own, in order.

    8-bit ones have a scale for each position and head, `key_scales` and `value_scales`, [layers, blocks, heads,
    BLOCK], float32; of others all scales are the same 1.
    """

    def __init__(self, shape: CacheShape, slots: int, device: torch.device) -> None:
        blocks = shape.blocks_of(slots)
        dimensions = (shape.layers, blocks, shape.heads, BLOCK, shape.head_dim)
        self.keys, self.values = (_allocate(dimensions, shape.dtype, device) for _ in range(2))
        self.key_scales, self.value_scales = (_scales(dimensions[:-1], shape.dtype, device) for _ in range(2))
        self._layers: dict[int, LayerCache] = {}
        self.tables = np.zeros((slots, shape.blocks), dtype=np.int32)
        self._held = [0] * slots  # blocks of each slot
        self._set_aside = [0] * slots  # how many blocks each slot may come to hold
        self._users = [0] * blocks  # slots of each block
        self._free = list(range(blocks))  # a heap: low blocks are used again before others are touched

    def layer(self, index: int) -> LayerCache:
        if index not in self._layers:
            parts = (self.keys, self.key_scales, self.values, self.value_scales)
            self._layers[index] = LayerCache(*(as_array(part[index]) for part in parts))
        return self._layers[index]

    def set_aside(self, slot: int, length: int) -> bool:
        """Keep blocks for a sequence that will be so long at most; False where there are not enough left."""
        blocks = -(-length // BLOCK)
        if sum(self._set_aside) + blocks > len(self._users):
            return False
        self._set_aside[slot] = blocks
        return True

    def reserve(self, slot: int, length: int) -> None:
        """Give a slot the blocks for positions 0 to length - 1."""
        while self._held[slot] * BLOCK < length:
            self._hold(slot, heapq.heappop(self._free))

    def share(self, source: int, slot: int, length: int) -> None:
        """Let an empty slot begin with the first positions of another.

        Full blocks are held by both, and are not written to again; a part of a block is copied.
        """
        full = length // BLOCK
        for block in self.tables[source, :full].tolist():
            self._hold(slot, block)
        if length % BLOCK:
            self.reserve(slot, length)
            old, new = int(self.tables[source, full]), int(self.tables[slot, full])
            for part in (self.keys, self.key_scales, self.values, self.value_scales):
                part[:, new] = part[:, old]

    def release(self, slot: int) -> None:
        """Give up a slot's blocks; those that no other slot holds are free."""
        for block in self.tables[slot, : self._held[slot]].tolist():
            self._users[block] -= 1
            if not self._users[block]:
                heapq.heappush(self._free, block)
        self._held[slot] = self._set_aside[slot] = 0

    def _hold(self, slot: int, block: int) -> None:
        self.tables[slot, self._held[slot]] = block
        self._held[slot] += 1
        self._users[block] += 1


def _scales(dimensions: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if dtype == torch.int8:
        return _allocate(dimensions, torch.float32, device)
    return torch.ones((), device=device).expand(dimensions)


def _allocate(dimensions: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.empty(dimensions, dtype=dtype, device=device)
    # numpy asks the system for large pages: with small ones, looking up an address costs as much as reading it.
    length = math.prod(dimensions) * dtype.itemsize
    return torch.from_numpy(np.empty(length, np.uint8)).view(dtype).view(dimensions)
