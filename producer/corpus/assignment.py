"""Pieces of a corpus on their way to the parts that were decided for their documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from contract.tunings.prepared_corpus import TRAIN, VALIDATION
from producer.corpus.documents.pieces import Piece
from producer.corpus.fates import Fate

SEARCHED = 2000
"""Characters before the place of a cut in which a line's end or a space is looked for."""


def assigned(pieces: Iterable[Piece], fate: Fate, keep: int) -> Iterator[tuple[str, Piece]]:
    """The pieces of one document, with the part that each belongs to.

    Args:
        keep: of a document that is cut, so many characters stay in the training, or a few less.
    """
    if fate in (Fate.TRAIN, Fate.VALIDATION):
        part = VALIDATION if fate == Fate.VALIDATION else TRAIN
        yield from ((part, piece) for piece in pieces)
    elif fate == Fate.CUT:
        yield from _cut(pieces, keep)
    else:
        for _ in pieces:
            pass


def _cut(pieces: Iterable[Piece], keep: int) -> Iterator[tuple[str, Piece]]:
    left, cut = keep, False
    for piece in pieces:
        if not cut and not piece.ends and len(piece.text) > left:
            place = _boundary(piece.text, left)
            yield from ((TRAIN, each) for each in (Piece(piece.line, piece.text[:place]), _end(piece.line)))
            cut = True
            yield VALIDATION, Piece(piece.line, piece.text[place:])
        else:
            left -= len(piece.text)
            yield (VALIDATION if cut else TRAIN), piece


def _boundary(text: str, place: int) -> int:
    """The end of a line at a place or before it, else of a word."""
    begin = max(0, place - SEARCHED)
    for mark in ("\n", " "):
        if (found := text.rfind(mark, begin, place)) > 0:
            return found + (mark == "\n")
    return place


def _end(line: int) -> Piece:
    return Piece(line, "", ends=True)
