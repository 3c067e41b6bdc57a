"""Bytes to numbered lines in bounded memory, and why a line cannot be read as text.

Knows no format: a line is what ends in LF, or in CR if the file has no LF.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from contract.errors import Problem, UsageError
from producer.source import Readable

MAX_LINE = 1 << 20
"""The longest line or record, in bytes."""
MAX_DOCUMENT = 16 << 20
"""The same of a corpus, whose rows are whole documents."""

BLOCK_BYTES = 1 << 20

BOM = codecs.BOM_UTF8

TOO_LONG = Problem("", "is over 1 MB, more than any model reads; shorten the prompt, or split it")
NUL_BYTES = Problem("", "has NUL bytes; it is damaged, or not a text file, or UTF-16 without a byte order mark")
TOO_LONG_DOCUMENT = Problem("", "is over 16 MB; write a text of that length as a file of its own, in plain text (.txt)")
JOINED_FILES = Problem("", "has a byte order mark (U+FEFF) inside, as where files were joined; break the line there")
NUL_CHARACTER = "contains the character U+0000, which SQL databases cannot store; remove it"


def numbered_lines(stream: Readable, name: str, longest: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes without the line's end. A byte order mark at the start is dropped.

    A line longer than `longest` is cut to `longest` + 1 bytes: memory stays bounded, and its length still tells.

    Raises:
        UsageError: the text is UTF-16 or UTF-32, or the stream cannot be read.
    """
    number, rest = 0, _without_bom(stream.read(BLOCK_BYTES), name)
    line_end = _line_end(rest)
    while True:
        lines = rest.split(line_end)
        rest = lines.pop()[: longest + 1]
        for number, line in enumerate(lines, number + 1):  # noqa: B020  (continues the count)
            yield number, line if len(line) <= longest else line[: longest + 1]
        block = stream.read(BLOCK_BYTES)
        if not block:
            break
        rest += block
    if rest:
        yield number + 1, rest


def blocks(stream: Readable, name: str) -> Iterator[bytes]:
    """The bytes of a text, block by block, without a byte order mark at the start.

    Raises:
        UsageError: the text is UTF-16 or UTF-32, or the stream cannot be read.
    """
    yield _without_bom(stream.read(BLOCK_BYTES), name)
    while block := stream.read(BLOCK_BYTES):
        yield block


def lines_of(head: bytes, most: int) -> list[bytes]:
    """The first lines among the first bytes of a file."""
    head = head.removeprefix(BOM)
    return head.split(_line_end(head), most)[:most]


def _line_end(block: bytes) -> bytes:
    """What ends the lines: LF, or CR in a file of a program that knows no LF."""
    return b"\r" if b"\r" in block.rstrip(b"\r") and b"\n" not in block else b"\n"


def _without_bom(block: bytes, name: str) -> bytes:
    if block.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise _wrong_encoding(name, "UTF-32")
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _wrong_encoding(name, "UTF-16")
    return block.removeprefix(BOM)


def _wrong_encoding(name: str, encoding: str) -> UsageError:
    advice = f"save it as UTF-8, for example with 'iconv -f {encoding} -t UTF-8'"
    return UsageError(f"{name}: is {encoding}, not UTF-8; {advice}")


def too_long(longest: int) -> Problem:
    """The problem with a line or record of more bytes."""
    return TOO_LONG if longest == MAX_LINE else TOO_LONG_DOCUMENT


def text_problem(line: bytes, longest: int = MAX_LINE) -> Problem | None:
    """Why `line` is not usable text in any format; None if it is."""
    if len(line) > longest:
        return too_long(longest)
    if b"\0" in line:
        return NUL_BYTES
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return Problem(
            "",
            f"is not UTF-8 (byte 0x{line[error.start]:02X} at column {error.start + 1}); save the file as UTF-8, "
            f"for example with 'iconv -f {_likely_encoding(line)} -t UTF-8'",
        )
    return None


def _likely_encoding(line: bytes) -> str:
    """The encoding of a line that is not UTF-8, for `iconv`.

    Never Latin-1: what is called that is mostly Windows-1252, whose quotes and dashes Latin-1 takes for control
    characters. Five bytes mean nothing in Windows-1252; the one who wrote the file has to know.
    """
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return "ENCODING"
    return "WINDOWS-1252"
