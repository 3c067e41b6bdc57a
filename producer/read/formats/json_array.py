"""One JSON array in a file: its elements, each with the number of the line where it starts, in bounded memory.

Knows where an element ends; what it holds is for `producer.read.formats.jsonl`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from contract.errors import UsageError
from producer.read.lines import MAX_LINE, blocks
from producer.source import Readable

_MARK = re.compile(rb'["\\\[\]{},]')


def array_elements(stream: Readable, name: str, longest: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    """Each element of the array that the stream holds, after the number of its line.

    Raises:
        UsageError: the array has no end, something follows it, or an element is over `longest` bytes.
    """
    boundaries, element, line = _Boundaries(), bytearray(), 1
    for block in blocks(stream, name):
        start = 0
        for end in boundaries.find(block):
            element += block[start:end]
            if element.strip():
                yield _numbered(element, line)
            line += element.count(b"\n")
            element.clear()
            start = end + 1
        element += block[start:]
        if len(element) > longest:
            raise UsageError(
                f"{name}: line {line:,}: the element that starts here is over {longest >> 20} MB; shorten its text"
            )
        if boundaries.arrays > 1 or (boundaries.is_closed and element.strip()):
            raise UsageError(f"{name}: goes on after its JSON array; write one object per line, or one array")
    if not boundaries.is_closed:
        raise UsageError(f"{name}: is a JSON array that is never closed; copy or write the file again")


def _numbered(element: bytearray, line: int) -> tuple[int, bytes]:
    blank_lines = element[: len(element) - len(element.lstrip())].count(b"\n")
    return line + blank_lines, bytes(element.strip())


class _Boundaries:
    """Finds the brackets and the commas of the outermost array, whatever the texts in it contain."""

    def __init__(self) -> None:
        self.arrays = 0  # begun at the outermost level; or objects
        self._depth = self._offset = 0
        self._in_text, self._escaped = False, -1

    @property
    def is_closed(self) -> bool:
        return self.arrays > 0 and self._depth == 0

    def find(self, block: bytes) -> Iterator[int]:
        """Where they are in the next block of the stream."""
        for match in _MARK.finditer(block):
            at, mark = match.start(), match[0]
            if self._offset + at == self._escaped:
                continue
            if self._in_text:
                self._read_text_mark(mark, at)
            elif mark == b'"':
                self._in_text = True
            elif self._is_boundary(mark):
                yield at
        self._offset += len(block)

    def _read_text_mark(self, mark: bytes, at: int) -> None:
        if mark == b"\\":
            self._escaped = self._offset + at + 1
        elif mark == b'"':
            self._in_text = False

    def _is_boundary(self, mark: bytes) -> bool:
        if mark in (b"[", b"{"):
            self.arrays += self._depth == 0
            self._depth += 1
            return self._depth == 1
        if mark in (b"]", b"}"):
            self._depth -= 1
            return self._depth == 0
        return mark == b"," and self._depth == 1
