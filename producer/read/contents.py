"""What a file's first bytes look like, whatever it is called.

Knows how each kind of file begins; what follows from that is for `producer.read.format_detection`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

import orjson

from producer.read.formats.jsonl import begins_array, spans_lines
from producer.read.lines import MAX_LINE, lines_of

HEAD_BYTES = MAX_LINE
MAX_LINES = 20

ARCHIVE = "unpack it and name the file in it"
COMPRESSED = "decompress it, or compress it with gzip or zstd"
OFFICE = "save the table as CSV in UTF-8"
DATABASE = "export its texts as JSON lines or CSV"
FOREIGN_BEGINNINGS: Sequence[tuple[int, bytes, str, str]] = (
    (0, b"PK\x05\x06", "an empty zip archive", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", ARCHIVE),
    (0, b"Rar!\x1a\x07", "a RAR archive", ARCHIVE),
    (257, b"ustar\0", "a tar archive", ARCHIVE),
    (257, b"ustar  \0", "a tar archive", ARCHIVE),
    (4, b"1AY&SY", "bzip2 data", COMPRESSED),
    (0, b"\xfd7zXZ\0", "xz data", COMPRESSED),
    (0, b"\x04\x22\x4d\x18", "lz4 data", COMPRESSED),
    (0, b"\x1f\x8b", "compressed twice", "decompress it once"),
    (0, b"\x28\xb5\x2f\xfd", "compressed twice", "decompress it once"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word document", OFFICE),
    (0, b"%PDF-", "a PDF document", "save its text as UTF-8"),
    (0, b"{\\rtf", "an RTF document", "save its text as UTF-8"),
    (0, b"ARROW1\0\0", "an Arrow or Feather file", "write it as Parquet"),
    (0, b"FEA1", "a Feather file", "write it as Parquet"),
    (0, b"Obj\x01", "an Avro file", "write it as Parquet or JSON lines"),
    (0, b"SQLite format 3\0", "an SQLite database", DATABASE),
    (0, b"\x89HDF\r\n", "an HDF5 file", DATABASE),
    (0, b"\x93NUMPY", "a NumPy array", "write the texts as JSON lines"),
    (0, b"\x80\x04\x95", "a Python pickle", "write the texts as JSON lines"),
    (0, b"\x80\x05\x95", "a Python pickle", "write the texts as JSON lines"),
    (0, b"\x89PNG\r\n", "an image", "name a file of texts"),
    (0, b"\xff\xd8\xff", "an image", "name a file of texts"),
)
"""Where other kinds of file begin with which bytes, what they are, and what to do with them."""

_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)\b", re.IGNORECASE)
_DAMAGED_OBJECT = re.compile(rb"""\{\s*(["'][^"']*["']|[A-Za-z_]\w*)\s*:""")
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_SEPARATOR_LINE = re.compile(rb'"?sep=([^\w"\0 \x80-\xff])"?', re.IGNORECASE)
DELIMITERS = "\t;,|"


def foreign_kind(head: bytes) -> tuple[str, str] | None:
    """What kind of file this is, if it can be none of ours, and what to do with it."""
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(head)
    if _WEB_PAGE.match(head):
        return "a web page, perhaps an error or a sign-in", "download the file itself"
    return next(
        ((kind, advice) for place, magic, kind, advice in FOREIGN_BEGINNINGS if head.startswith(magic, place)), None
    )


def _zip_kind(head: bytes) -> tuple[str, str]:
    if b"xl/" in head or b"spreadsheet" in head:
        return "a spreadsheet", "say --form xlsx, or save the table as CSV in UTF-8"
    if b"word/" in head or b"opendocument.text" in head:
        return "a word processor's document", "save its text as UTF-8"
    return "a zip archive", ARCHIVE


def form_of(head: bytes) -> str | None:
    """The form that a file's contents have by its first bytes, `json` for one object over several lines.

    None if nothing tells it from plain text.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    lines = [line.strip(b"\r") for line in lines_of(head, MAX_LINES) if line.strip()]
    if not lines:
        return None
    return _json_form(lines) or _table_form(lines)


def _json_form(lines: Sequence[bytes]) -> str | None:
    first = lines[0].strip()
    if begins_array(first) and b"{" in b"".join(lines[:2]):
        return "openai" if _has_request_names(b"".join(lines)) else "jsonl"
    if _array_of_texts(lines):
        return "jsonl"  # whose reader refuses each of them in its own words
    if spans_lines(first) and len(lines) > 1:
        return "json"
    objects = [value for line in lines if (value := _object(line)) is not None]
    if _object(first) is not None or 2 * len(objects) > len(lines):
        return "openai" if "body" in objects[0] and "url" in objects[0] else "jsonl"
    if not _DAMAGED_OBJECT.match(first):
        return None
    return "openai" if _has_request_names(first) else "jsonl"


def _array_of_texts(lines: Sequence[bytes]) -> bool:
    first = lines[0].strip()
    if first == b"[":
        return len(lines) > 1 and lines[1].strip()[:1] in (b'"', b"[")
    try:
        return isinstance(orjson.loads(first), list)
    except orjson.JSONDecodeError:
        return False


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and value else None


def _has_request_names(line: bytes) -> bool:
    """The names in a damaged or a long line still tell."""
    return b'"body"' in line and b'"url"' in line


def separator(line: bytes) -> str | None:
    """The delimiter that a line such as `sep=;`, which Excel reads and some programs write, names."""
    match = _SEPARATOR_LINE.fullmatch(line.strip(b"\r"))
    return match[1].decode() if match else None


def _table_form(lines: Sequence[bytes]) -> str | None:
    if separator(lines[0]):
        return "csv"
    texts = [line.decode("utf-8", "replace") for line in lines]
    delimiter = next((each for each in DELIMITERS if _is_header(texts, each)), None)
    if delimiter is None and texts[0].strip(' "').casefold() in ("prompt", "prompts"):
        return "csv"
    return {None: None, "\t": "tsv"}.get(delimiter, "csv")


def _is_header(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the first of the lines names the columns of a table, cells of which the others hold."""
    rows = [_split(line, delimiter) for line in lines]
    names = rows[0]
    if len(names) < 2:
        return False
    regular = len(rows) > 1 and all(len(row) == len(names) for row in rows)
    if {"prompt", "messages"}.intersection(name.strip().casefold() for name in names):
        return regular or all(_COLUMN_NAME.fullmatch(name.strip()) for name in names)
    if delimiter == "\t":
        return regular
    return regular and len(set(names)) == len(names) and all(_COLUMN_NAME.fullmatch(name) for name in names)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
