"""The documents of a corpus as a stream of pieces, so that a document may be longer than the memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SEPARATOR = "<|endoftext|>"
"""Ends a document wherever it stands in a text, whatever the model's own end-of-text token is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a document, or its end. The texts of a document's pieces, joined, are its text."""

    line: int  # where the document starts
    text: str
    learned: bool = True  # whether the model is to write it, or only to read it, as it does a prompt
    ends: bool = False  # nothing follows of the document; the text is empty


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a document once its pieces have gone by."""

    line: int
    key: bytes  # 16 bytes, the same for the same text
    characters: int
    plain: bool  # all of it is to be learned
    empty: bool  # nothing of it is


class Outliner:
    """Sees the pieces of documents go by, and says what each document was."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._characters, self._learned, self._plain, self._empty = 0, True, True, True

    def see(self, piece: Piece) -> Outline | None:
        """The outline of the document that ends with this piece; None if it goes on."""
        if piece.ends:
            outline = Outline(piece.line, self._hash.digest(), self._characters, self._plain, self._empty)
            self._begin()
            return outline
        if piece.learned != self._learned:  # where pieces of one kind are divided says nothing
            self._hash.update(b"\xff")  # no byte of UTF-8
            self._learned, self._plain = piece.learned, False
        self._hash.update(piece.text.encode())
        self._characters += len(piece.text)
        self._empty = self._empty and not (piece.learned and piece.text.strip())
        return None


class TextDigest:
    """SHA-256 of documents one after the other, with a zero byte behind each."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The same pieces."""
        for piece in pieces:
            self._hash.update(b"\0" if piece.ends else piece.text.encode())
            yield piece

    def hexadecimal(self) -> str:
        """Of the documents so far."""
        return self._hash.hexdigest()


def documents(pieces: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    """The pieces of each document, all of which have to be taken before the next one."""
    for first in pieces:
        yield _until_end(first, pieces)


def _until_end(piece: Piece, following: Iterator[Piece]) -> Iterator[Piece]:
    yield piece
    while not piece.ends:
        piece = next(following)
        yield piece


def whole(line: int, segments: Iterable[tuple[str, bool]]) -> Iterator[Piece]:
    """A document that is here in full, as texts that are learned or only read."""
    for text, learned in segments:
        if text:
            yield Piece(line, text, learned)
    yield Piece(line, "", ends=True)


def texts_between_separators(line: int, text: str) -> Iterator[Piece]:
    """The documents in the text of a row."""
    parts = text.split(SEPARATOR) if SEPARATOR in text else [text]
    if len(parts) > 1:
        parts = [stripped for part in parts if (stripped := part.strip("\n")).strip()] or [""]
    for part in parts:
        yield from whole(line, [(part, True)])
