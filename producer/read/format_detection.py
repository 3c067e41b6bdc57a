"""Which format a prompt file has: its name tells, or else its first bytes.

Knows what distinguishes the formats, and nothing else about them.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import orjson

from contract.errors import UsageError
from producer.decompression import decompressed
from producer.read.csv import CsvReader
from producer.read.jsonl import JsonlReader, begins_array
from producer.read.lines import numbered_lines
from producer.read.openai import OpenAiReader
from producer.read.parquet import ParquetReader
from producer.read.reader import FormatReader
from producer.read.txt import TextReader
from producer.source import Source

READERS: dict[str, type[FormatReader[Any]]] = {
    reader.name: reader for reader in (JsonlReader, OpenAiReader, CsvReader, ParquetReader, TextReader)
}

FORMATS_BY_EXTENSION = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
UNSUPPORTED_EXTENSIONS = (".tsv", ".xlsx", ".xls", ".ods")


def find_reader(source: Source, format: str | None) -> type[FormatReader[Any]]:
    """The reader for `source`: by the format asked for, else by the file's extension, else by its first line.

    JSON lines and OpenAI batch files share their extensions; the first line tells them apart.

    Raises:
        UsageError: the format is unknown or unsupported, or the file cannot be read.
    """
    if format is not None:
        if format not in READERS:
            raise UsageError(f"{format!r} is not a prompt file format; formats: {', '.join(READERS)}")
        return READERS[format]
    extension = _extension(source.name)
    if extension in UNSUPPORTED_EXTENSIONS:
        raise UsageError(
            f"{source.name}: {extension} files are not supported; save the table as comma-separated CSV in UTF-8"
        )
    by_name = FORMATS_BY_EXTENSION.get(extension)
    if by_name not in (None, "jsonl"):
        return READERS[by_name]
    detected = _detect(source)
    return READERS[detected if by_name is None or detected == "openai" else by_name]


def without_compression(name: str) -> str:
    """A file's name without `.gz` or `.zst`."""
    return name[: name.rindex(".")] if name.lower().endswith((".gz", ".zst")) else name


def _extension(name: str) -> str:
    return PurePath(without_compression(name)).suffix.lower()


def _detect(source: Source) -> str:
    head = decompressed(source).read(4)
    if head == b"PAR1":
        return "parquet"
    lines = numbered_lines(decompressed(source), source.name)
    first = next((line for _, line in lines if line.strip()), b"").strip()
    if not first.startswith(b"{") and not begins_array(first):
        return "txt"
    return "openai" if _is_request(first) else "jsonl"


def _is_request(line: bytes) -> bool:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:  # the names in a damaged first line still tell
        return b'"body"' in line and b'"url"' in line
    return isinstance(value, dict) and "body" in value and "url" in value
