"""Bytes to numbered lines in bounded memory, and why a line cannot be read as text.

Knows no format: a line is what ends in LF.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from contract.errors import Problem, UsageError
from producer.source import Readable

MAX_LINE = 1 << 20
"""The longest line or record, in bytes."""

BLOCK_BYTES = 1 << 20

TOO_LONG = Problem("", "is over 1 MB, more than any model reads; shorten the prompt, or split it")
NUL_BYTES = Problem("", "has NUL bytes; it is damaged, or not a text file")
NUL_CHARACTER = "contains the character U+0000, which SQL databases cannot store; remove it"


def numbered_lines(stream: Readable, name: str) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes without the LF. A byte order mark at the start is dropped.

    A line longer than `MAX_LINE` is cut to `MAX_LINE` + 1 bytes: memory stays bounded, and its length still tells.

    Raises:
        UsageError: the text is UTF-16, or the stream cannot be read.
    """
    number, rest = 0, _without_bom(stream.read(BLOCK_BYTES), name)
    while True:
        lines = rest.split(b"\n")
        rest = lines.pop()[: MAX_LINE + 1]
        for number, line in enumerate(lines, number + 1):  # noqa: B020  (continues the count)
            yield number, line if len(line) <= MAX_LINE else line[: MAX_LINE + 1]
        block = stream.read(BLOCK_BYTES)
        if not block:
            break
        rest += block
    if rest:
        yield number + 1, rest


def _without_bom(block: bytes, name: str) -> bytes:
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"{name}: is UTF-16, not UTF-8; save it as UTF-8, for example with 'iconv -f UTF-16 -t UTF-8'")
    return block.removeprefix(codecs.BOM_UTF8)


def text_problem(line: bytes) -> Problem | None:
    """Why `line` is not usable text in any format; None if it is."""
    if len(line) > MAX_LINE:
        return TOO_LONG
    if b"\0" in line:
        return NUL_BYTES
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return Problem(
            "",
            f"is not UTF-8 (byte 0x{line[error.start]:02X} at column {error.start + 1}); save the file as UTF-8, "
            "for example with 'iconv -f LATIN1 -t UTF-8'",
        )
    return None
