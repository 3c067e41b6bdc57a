"""Documents as tokens, many at a time, in the order in which they come.

Knows what becomes of pieces and not where they come from; which part a document belongs to was decided before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from producer.corpus.documents.pieces import Piece
from producer.corpus.tokens.long_text import WINDOW, LongText
from producer.corpus.tokens.part_files import PartFiles
from producer.corpus.tokens.tokenizer import CorpusTokenizer

BATCH_CHARACTERS, BATCH_DOCUMENTS = 1 << 20, 1 << 13
"""Whichever is reached first."""

Segment = tuple[str, bool]
"""A text, and whether it is to be learned."""


@dataclass(slots=True)
class _Document:
    """A document that waits for its batch."""

    part: str
    file: int
    line: int
    segments: list[Segment]
    plain: bool


class DocumentEncoder:
    """Takes pieces and writes tokens: those that every text begins with, the document's, the end-of-text token."""

    def __init__(self, tokenizer: CorpusTokenizer, parts: Mapping[str, PartFiles]) -> None:
        self._tokenizer, self.parts = tokenizer, parts
        self.tokens: dict[int, int] = {}  # by file
        self.documents: dict[int, int] = {}
        self._waiting: list[_Document] = []
        self._waiting_characters = 0
        self._current: _Document | None = None
        self._long: LongText | None = None

    def add(self, part: str, file: int, piece: Piece, *, plain: bool = True) -> None:
        """The next piece of a document of that part.

        Args:
            plain: all of the document is to be learned.
        """
        current = self._current = self._current or _Document(part, file, piece.line, [], plain)
        if piece.ends:
            self._end(current)
        elif self._long is not None:
            self._write_long(current, self._long.add(piece.text))
        else:
            _append(current.segments, piece)
            if current.plain and len(current.segments[0][0]) > WINDOW:
                self._begin_long(current)

    def flush(self) -> None:
        """Writes all documents that wait."""
        waiting, self._waiting, self._waiting_characters = self._waiting, [], 0
        encoded = iter(self._tokenizer.encode([text for one in waiting for text in _texts(one.segments)]))
        for document in waiting:
            self._begin(document)
            learned = True
            for tokens, learned in self._segments(document.segments, encoded):
                self._write(document, tokens, learned=learned)
            self._write_end(document, tokens[-1:], learned=learned)

    def _end(self, document: _Document) -> None:
        self._current = None
        if self._long is not None:
            self._write_long(document, self._long.finish())
            self._write_end(document, [], learned=True)
            self._long = None
            return
        self._waiting.append(document)
        self._waiting_characters += sum(len(text) for text, _ in document.segments)
        if self._waiting_characters > BATCH_CHARACTERS or len(self._waiting) >= BATCH_DOCUMENTS:
            self.flush()

    def _begin_long(self, document: _Document) -> None:
        self.flush()
        self._begin(document)
        self._long = LongText(self._tokenizer)
        self._write_long(document, self._long.add(document.segments[0][0]))

    def _write_long(self, document: _Document, found: Iterator[list[int]]) -> None:
        for tokens in found:
            self._write(document, tokens, learned=True)

    def _segments(self, segments: Sequence[Segment], encoded: Iterator[list[int]]) -> Iterator[tuple[list[int], bool]]:
        """The tokens of each segment: those that it has behind the one before, whose own tokens stay as they are, since
        a prompt is tokenised by itself when the model is asked to go on."""
        before: list[int] = []
        for place, (_, learned) in enumerate(segments):
            alone = next(encoded)
            joined = next(encoded) if place else alone
            behind = joined[len(before) :] if joined[: len(before)] == before else alone
            yield behind, learned
            before = alone

    def _begin(self, document: _Document) -> None:
        self.parts[document.part].begin(document.file, document.line)
        self.documents[document.file] = self.documents.get(document.file, 0) + 1
        prefix = self._tokenizer.prefix
        text, learned = document.segments[0]
        if prefix and not text.startswith(self._tokenizer.prefix_written):
            self._write(document, prefix, learned=learned)

    def _write_end(self, document: _Document, last: Sequence[int], *, learned: bool) -> None:
        end = self._tokenizer.end_of_text
        if list(last) != [end]:
            self._write(document, [end], learned=learned)

    def _write(self, document: _Document, tokens: Sequence[int], *, learned: bool) -> None:
        self.parts[document.part].add(tokens, learned=learned)
        self.tokens[document.file] = self.tokens.get(document.file, 0) + len(tokens)


def _append(segments: list[Segment], piece: Piece) -> None:
    """Texts of one kind are one segment."""
    if segments and segments[-1][1] == piece.learned:
        segments[-1] = (segments[-1][0] + piece.text, piece.learned)
    else:
        segments.append((piece.text, piece.learned))


def _texts(segments: Sequence[Segment]) -> Iterator[str]:
    """What is tokenised of them: each by itself, and each but the first behind the one before."""
    for place, (text, _) in enumerate(segments):
        yield text
        if place:
            yield segments[place - 1][0] + text
