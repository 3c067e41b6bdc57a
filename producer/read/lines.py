"""Bytes to numbered lines in bounded memory, and why a line cannot be read as text.

Knows no form: a line is what ends in LF.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from contract.errors import Problem, UsageError
from producer.source import Readable

MAX_LINE = 1 << 20
"""The longest line or record, in bytes."""

BLOCK = 1 << 20

TOO_LONG = Problem("", "is over 1 MB, more than any model reads; shorten the prompt, or split it")
NUL_BYTES = Problem("", "has NUL bytes; it is damaged, or not a text file")
NUL_CHARACTER = "contains the character U+0000, which SQL databases cannot store; remove it"


def numbered_lines(stream: Readable, name: str) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes without the LF. A byte order mark at the start is dropped.

    A line longer than `MAX_LINE` is cut to `MAX_LINE` + 1 bytes: its length tells, and memory stays bounded.

    Raises:
        UsageError: the text is UTF-16, or the stream cannot be read.
    """
    number, rest = 0, _without_mark(stream.read(BLOCK), name)
    while True:
        pieces = rest.split(b"\n")
        rest = pieces.pop()[: MAX_LINE + 1]
        for number, piece in enumerate(pieces, number + 1):  # noqa: B020  (goes on from where it stood)
            yield number, piece if len(piece) <= MAX_LINE else piece[: MAX_LINE + 1]
        block = stream.read(BLOCK)
        if not block:
            break
        rest += block
    if rest:
        yield number + 1, rest


def _without_mark(block: bytes, name: str) -> bytes:
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"{name}: is UTF-16, not UTF-8; save it as UTF-8, for example with 'iconv -f UTF-16 -t UTF-8'")
    return block.removeprefix(codecs.BOM_UTF8)


def unreadable(line: bytes) -> Problem | None:
    """Why `line` is no usable text, whatever its form; None where it is."""
    if len(line) > MAX_LINE:
        return TOO_LONG
    if b"\0" in line:
        return NUL_BYTES
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return Problem(
            "",
            f"is not UTF-8 (byte 0x{line[wrong.start]:02X} at column {wrong.start + 1}); save the file as UTF-8, "
            "for example with 'iconv -f LATIN1 -t UTF-8'",
        )
    return None
