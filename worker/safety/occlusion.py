"""Which words carry a text's scores, by leaving them out one by one (leave-one-out, or occlusion).

Approximate: what matters only together is not seen. Nothing is known of classifiers, only of texts and of numbers.
See Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation Erasure" (2016).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MARKED_CHARACTERS = 4000
"""Of a longer text only the beginning is looked at: every part costs one more reading of it."""
MOST_PARTS = 96
LONGEST_WORD = 40
"""Characters of a run without a space that are left out together; scripts without spaces, and what is no word."""

_RUN = re.compile(rf"\S{{1,{LONGEST_WORD}}}")


def parts(text: str) -> list[tuple[int, int]]:
    """(start, end) of what is left out at a time: words, or in a long text some words that follow each other."""
    words = [match.span() for match in _RUN.finditer(text)]
    together = -(-len(words) // MOST_PARTS) or 1
    groups = (words[first : first + together] for first in range(0, len(words), together))
    return [(group[0][0], group[-1][1]) for group in groups]


def without(text: str, span: tuple[int, int], piece: tuple[int, int] | None = None) -> str:
    """The text, or a piece of it, with one part left out."""
    start, end = piece or (0, len(text))
    return text[start : min(max(span[0], start), end)] + text[max(min(span[1], end), start) : end]


def drops(whole: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """By label, how much its score falls without each part; below 0 where it rises."""
    return {label: [round(score - other[label], 6) for other in others] for label, score in whole.items()}
