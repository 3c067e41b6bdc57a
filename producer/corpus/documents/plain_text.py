"""Plain text as documents, which end at `<|endoftext|>`, at blank lines where that is wanted, or at the file's end.

Line ends become LF; those around a document do not belong to it. A line that is no text is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from contract.errors import BadLine
from producer.corpus.documents.pieces import SEPARATOR, Piece
from producer.read.lines import BOM, NUL_BYTES, blocks, text_problem
from producer.source import Readable

OnBadLine = Callable[[BadLine], object]

_SEPARATOR = re.compile(re.escape(SEPARATOR))
_SEPARATOR_OR_BLANK = re.compile(rf"{re.escape(SEPARATOR)}|^[^\S\n]*\n", re.MULTILINE)
LONGEST_LINE = 1 << 20
"""A longer line is read in parts, divided at a space where there is one."""


def text_documents(stream: Readable, name: str, on_bad: OnBadLine, *, paragraphs: bool = False) -> Iterator[Piece]:
    """The documents of a text; a line of it that is bad is left out.

    Raises:
        UsageError: it is UTF-16 or UTF-32, or cannot be read.
    """
    pattern = _SEPARATOR_OR_BLANK if paragraphs else _SEPARATOR
    document, separated = _Document(), False
    for line, text in _texts(stream, name, on_bad):
        start = 0
        for match in pattern.finditer(text):
            yield from document.add(line, text[start : match.start()])
            is_separator = match[0] == SEPARATOR
            if is_separator and separated and not document.has_begun:
                yield Piece(line, "", ends=True)  # there is nothing between two separators
            separated = is_separator or (separated and not document.has_begun)
            yield from document.end()
            line += text.count("\n", start, match.end())
            start = match.end()
        yield from document.add(line, text[start:])
    yield from document.end()


class _Document:
    """The document that is being read: holds back line ends until something follows them."""

    def __init__(self) -> None:
        self._line, self._held = 0, ""

    @property
    def has_begun(self) -> bool:
        return self._line > 0

    def add(self, line: int, text: str) -> Iterator[Piece]:
        if not self._line:
            body = text.lstrip("\n")
            line, text = line + len(text) - len(body), body
        kept = text.rstrip("\n")
        if kept:
            self._line = self._line or line
            yield Piece(self._line, self._held + kept)
            self._held = ""
        if self._line:
            self._held += text[len(kept) :]

    def end(self) -> Iterator[Piece]:
        if self._line:
            yield Piece(self._line, "", ends=True)
        self._line, self._held = 0, ""


def _texts(stream: Readable, name: str, on_bad: OnBadLine) -> Iterator[tuple[int, str]]:
    """Pieces of the text, most of them whole lines, each after the number of its first line."""
    number = 1
    for chunk in _chunks(stream, name):
        yield number, "".join(_decoded(chunk, number, on_bad))
        number += _line_count(chunk)


def _chunks(stream: Readable, name: str) -> Iterator[bytes]:
    """The bytes in pieces that end with a line, or within a very long one where it does no harm."""
    rest = b""
    for block in blocks(stream, name):
        rest += block
        end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1  # LF may follow the CR at the very end
        if not end and len(rest) > LONGEST_LINE:
            end = _place_to_divide(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _place_to_divide(line: bytes) -> int:
    """Where a long line can be divided: behind a space, or at least neither within a character nor a separator."""
    if (space := line.rfind(b" ", 0, -1)) >= 0:
        return space + 1
    end = len(line) - 1 - len(SEPARATOR)
    if (begun := line.rfind(b"<", max(0, end - len(SEPARATOR)), end)) > 0:
        return begun
    while end > 1 and line[end] & 0xC0 == 0x80:  # within a character of UTF-8
        end -= 1
    return end


def _decoded(chunk: bytes, number: int, on_bad: OnBadLine) -> Iterator[str]:
    if b"\0" not in chunk and BOM not in chunk:
        try:
            yield _with_line_feeds(chunk).decode()
            return
        except UnicodeDecodeError:
            pass
    for line_number, line in enumerate(_with_line_feeds(chunk).splitlines(keepends=True), number):
        problem = NUL_BYTES if b"\0" in line else text_problem(line, len(line))
        if problem is None:
            yield line.removeprefix(BOM).decode()
        else:
            on_bad(BadLine(line_number, problem))


def _with_line_feeds(chunk: bytes) -> bytes:
    return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk


def _line_count(chunk: bytes) -> int:
    return chunk.count(b"\n") + chunk.count(b"\r") - chunk.count(b"\r\n")
