"""Where a text's sentences are, in any script; what is too long for one, or has no full stops, in windows.

After Unicode Standard Annex 29, with one difference: a full stop before a space also ends a sentence where a small
letter follows. Cut once too often a sentence keeps its score; cut too seldom its neighbours dilute it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""(start, end) in characters of a text."""

LONGEST_SENTENCE = 300
"""Characters; twice what most sentences have. A longer one is read in windows that overlap by half."""
_STEP = LONGEST_SENTENCE // 2

_STOPS = "!?…‼‽⁇⁈⁉。！？｡．﹒﹖﹗؟۔܀܁܂։՜՞।॥။။។៕᠃᠉።፧፨༎།꓿꘎꘏꛳꛷꡶꡷"
"""End a sentence whatever follows."""
_CLOSING = "\"'”’»›)\\]}）］｝」』】〉》〕"
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LINE_ENDS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
# Runs are possessive, and a run of full stops begins once: a hundred thousand of them take no longer than letters.
_END = re.compile(
    rf"(?:[{_STOPS}][{_STOPS}.]*+"
    # Not after a single letter: an initial, or the end of "e.g."; nor inside a number or an address.
    rf"|(?<!\b[^\W\d_])(?<![.{_STOPS}])\.[{_STOPS}.]*+(?=[{_CLOSING}]*+(?:\s|\Z|[{_SPACELESS}])))[{_CLOSING}]*+"
    rf"|[{_LINE_ENDS}]+"
)
_WORD = re.compile(r"\w")


def sentences(text: str) -> list[Span]:
    """The sentences of a text in order, without the white space around them; one, empty, where there are none.

    A piece without a letter or a digit belongs to the sentence before it. None is longer than `LONGEST_SENTENCE`.
    """
    whole = [window for sentence in _joined(text, _pieces(text)) for window in _windows(text, *sentence)]
    return [span for span in (_stripped(text, *window) for window in whole) if span[0] < span[1]] or [(0, 0)]


def _pieces(text: str) -> Iterator[Span]:
    start = 0
    for end in _END.finditer(text):
        yield start, end.end()
        start = end.end()
    yield start, len(text)


def _joined(text: str, pieces: Iterable[Span]) -> Iterator[Span]:
    start, end, has_words = 0, 0, False
    for piece in pieces:
        words = _WORD.search(text, *piece) is not None
        if words and has_words:
            yield start, end
            start = piece[0]
        has_words, end = has_words or words, piece[1]
    yield start, end


def _windows(text: str, start: int, end: int) -> Iterator[Span]:
    """A sentence, or windows of one that is too long, cut between words where there are spaces."""
    while end - start > LONGEST_SENTENCE:
        yield start, _edge(text, start + _STEP, start + LONGEST_SENTENCE)
        start = _edge(text, start + _STEP // 2, start + _STEP)
    yield start, end


def _edge(text: str, least: int, most: int) -> int:
    """The last white space between two places, or the second of them."""
    return next((place for place in range(most, least, -1) if text[place].isspace()), most)


def _stripped(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
