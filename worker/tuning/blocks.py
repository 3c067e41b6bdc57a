"""The corpus as the blocks that are learned, in the order in which they are learned.

The order follows from the seed alone, so that a process that goes on at any step takes the very blocks that it would
have taken. A block's tokens each predict the next one; the last of a block is the first of the next, so that every
token but the very first is predicted once an epoch. Blocks run over the ends of documents; only the last is filled up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from contract.tunings.prepared_corpus import Part

IGNORED = -100
"""What stands in place of a token that is not to be learned; cross_entropy passes over it."""
Block = dict[str, torch.Tensor]


class Blocks(Dataset[Block]):
    """The blocks of a part, as often and in the order in which they come."""

    def __init__(self, part: Part, *, block: int, count: int, seed: int | None, filler: int) -> None:
        """
        Args:
            part: has two tokens or more.
            block: tokens that a block predicts.
            count: how many blocks there shall be: several epochs, or a part of one.
            seed: of the order; None = as they lie, evenly spread over the part where not all of them are asked for.
            filler: the token that fills up the last block, unlearned.
        """
        self._part, self._block, self._count, self._seed, self._filler = part, block, count, seed, filler
        self._available = part.block_count(block)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Block:
        """`input_ids` [block] and `labels` [block], the tokens that follow them."""
        number = self._number(index)
        tokens = np.asarray(self._part.block(number, self._block)).astype(np.int64)
        labels = tokens[1:].copy()
        loss = self._part.block_loss(number, self._block)
        if loss is not None:
            labels[np.asarray(loss)[1:] == 0] = IGNORED
        missing = self._block - len(labels)
        return {
            "input_ids": torch.from_numpy(np.pad(tokens[:-1], (0, missing), constant_values=self._filler)),
            "labels": torch.from_numpy(np.pad(labels, (0, missing), constant_values=IGNORED)),
        }

    def _number(self, index: int) -> int:
        if self._seed is None:
            return index * self._available // self._count
        epoch, place = divmod(index, self._available)
        return int(_order(self._seed, epoch, self._available)[place])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[Any]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def stacked(blocks: list[Block]) -> Block:
    """A micro-batch. [rows, block] each."""
    return {name: torch.stack([block[name] for block in blocks]) for name in blocks[0]}


def learned(batch: Block) -> int:
    """How many tokens of a micro-batch are learned."""
    return int(batch["labels"].ne(IGNORED).sum())
