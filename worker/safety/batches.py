"""Windows of texts, and which of them share a forward pass: only those that are padded to the same length.

So how far a text is padded depends on that text alone. Nothing is known of torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from worker.padding import filled_up

ROWS_APART = 8
"""Windows without a text are one in so many at most, and only in the last batch of a length."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one row of a batch reads: a whole text, or a part of a long one."""

    text: int  # place among the texts
    tokens: list[int]  # with its special tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass reads."""

    windows: Sequence[Window]
    length: int  # every window's, once padded
    rows: int  # to be computed: the windows, and empty ones that fill up their number


def mini_batches(windows: Sequence[Window], *, multiple: int, longest: int, budget: int) -> Iterator[Batch]:
    """Batches of windows that are padded to one length each, the longest first.

    Args:
        multiple: a window is padded to the next multiple of this many tokens,
        longest: but not beyond what the model reads at once.
        budget: most tokens of a batch, padding counted; a single window may exceed it.
    """

    def padded(window: Window) -> int:
        return min(-(-len(window.tokens) // multiple) * multiple, longest)

    for length, alike in groupby(sorted(windows, key=padded, reverse=True), padded):
        rows, size = list(alike), max(1, budget // length)
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            yield Batch(some, length, min(filled_up(len(some), ROWS_APART), size))
