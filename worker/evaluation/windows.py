"""Cutting a text that is longer than a model's positions into windows that overlap by half. Integers only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """Tokens of a text that are computed together."""

    start: int
    end: int
    scored: int  # the first of its tokens that counts; those before it counted in the window before


def windows(tokens: int, positions: int) -> Iterator[Window]:
    """The windows of a text: each token but the first counts in exactly one of them.

    The rule is that of transformers' guide "Perplexity of fixed-length models", with a stride of half the positions:
    behind the first window, every token that counts is predicted from half a window or more.

    Args:
        positions: of the model, 2 or more.
    """
    stride, scored = positions // 2, 1
    for start in range(0, tokens, stride):
        end = min(start + positions, tokens)
        yield Window(start, end, scored)
        if end == tokens:
            return
        scored = end
