"""A text of any length as the tokens that it has as a whole, in bounded memory.

It is cut into windows that overlap, and the tokens of two neighbours are joined where both agree: a tokenizer looks no
further than a few words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

WINDOW = 1 << 16
OVERLAP = 1 << 11
"""In characters."""
WINDOWS_AT_ONCE = 8
"""The tokenizer takes so many together, one thread each."""
AGREEING = 6
"""Tokens on either side of the seam that have to be the same in both windows."""

Offsets = list[tuple[int, int]]


class OffsetTokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], Offsets]]:
        """The tokens of each text, and from which character to which each of them stands."""
        ...


@dataclass(slots=True)
class _Window:
    """A window with its tokens."""

    text: str
    tokens: list[int]
    offsets: Offsets


class LongText:
    """Takes a text piece by piece, and gives its tokens as they become known."""

    def __init__(self, tokenizer: OffsetTokenizer) -> None:
        self._tokenizer = tokenizer
        self._text = ""
        self._last: _Window | None = None  # whose last tokens wait for the next window
        self._from = 0  # the first of its tokens that was not given

    def add(self, text: str) -> Iterator[list[int]]:
        """The tokens that are known now."""
        self._text += text
        batch = WINDOW + (WINDOWS_AT_ONCE - 1) * (WINDOW - OVERLAP)
        while len(self._text) > batch + OVERLAP:
            yield from self._joined([self._next_window() for _ in range(WINDOWS_AT_ONCE)])

    def finish(self) -> Iterator[list[int]]:
        """The rest of the tokens."""
        windows = []
        while len(self._text) > WINDOW:
            windows.append(self._next_window())
        yield from self._joined([*windows, self._text])
        if self._last is not None:
            yield self._last.tokens[self._from :]

    def _next_window(self) -> str:
        window, self._text = self._text[:WINDOW], self._text[WINDOW - OVERLAP :]
        return window

    def _joined(self, texts: list[str]) -> Iterator[list[int]]:
        for text, (tokens, offsets) in zip(texts, self._tokenizer.encode_with_offsets(texts), strict=True):
            window, begin = _Window(text, tokens, offsets), 0
            if self._last is not None:
                end, begin, window = self._seam(self._last, window)
                yield self._last.tokens[self._from : end]
            self._last, self._from = window, begin

    def _seam(self, left: _Window, right: _Window) -> tuple[int, int, _Window]:
        """Up to which token the left window counts, from which the right one, and the right one itself."""
        shift = len(left.text) - OVERLAP
        begins = {start: index for index, (start, _) in _first_at_each_place(right.offsets, 0, OVERLAP)}
        lefts = [(i, start - shift) for i, (start, _) in _first_at_each_place(left.offsets, shift, len(left.text))]
        for i, place in sorted(lefts, key=lambda one: abs(one[1] - OVERLAP // 2)):
            j = begins.get(place)
            if j is not None and i >= self._from and _agree(left.tokens, i, right.tokens, j):
                return i, j, right
        return self._divide(left, right, shift)

    def _divide(self, left: _Window, right: _Window, shift: int) -> tuple[int, int, _Window]:
        """Where the windows never agree, as in a word of thousands of letters, the text is divided between two tokens
        of the left one."""
        middle = shift + OVERLAP // 2
        places = [(i, start) for i, (start, _) in _first_at_each_place(left.offsets, middle, len(left.text))]
        end, place = next(((i, start) for i, start in places if i >= self._from), (len(left.tokens), len(left.text)))
        text = right.text[place - shift :]
        ((tokens, offsets),) = self._tokenizer.encode_with_offsets([text])
        return end, 0, _Window(text, tokens, offsets)


def _first_at_each_place(offsets: Offsets, begin: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """The tokens that start within, but for those that start within a character, where several tokens make one."""
    first = bisect_left(offsets, (begin, 0))
    before = offsets[first - 1][1] if first else 0
    for index in range(first, len(offsets)):
        start, stop = offsets[index]
        if start >= end:
            return
        if stop > start >= before:
            yield index, (start, stop)
        before = max(before, stop)


def _agree(left: Sequence[int], i: int, right: Sequence[int], j: int) -> bool:
    return left[max(0, i - AGREEING) : i + AGREEING] == right[max(0, j - AGREEING) : j + AGREEING]
