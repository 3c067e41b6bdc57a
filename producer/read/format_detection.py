"""Which format a prompt file has: its name and its contents tell together, and where they disagree nothing is guessed.

Knows what distinguishes the formats, and nothing else about them.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from contract.errors import UsageError
from producer.decompression import decompressed
from producer.read.contents import ARCHIVE, COMPRESSED, DATABASE, HEAD_BYTES, OFFICE, foreign_kind, form_of
from producer.read.formats.csv import CsvReader, TsvReader
from producer.read.formats.jsonl import JsonlReader
from producer.read.formats.openai import OpenAiReader
from producer.read.formats.parquet import ParquetReader
from producer.read.formats.txt import TextReader
from producer.read.formats.xlsx import XlsxReader
from producer.read.reader import FormatReader
from producer.source import Source

READERS: dict[str, type[FormatReader[Any]]] = {
    reader.name: reader
    for reader in (JsonlReader, OpenAiReader, CsvReader, TsvReader, ParquetReader, XlsxReader, TextReader)
}

FORMATS_BY_EXTENSION = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".pq": "parquet",
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
LOOKS = {
    "jsonl": "JSON",
    "json": "JSON",
    "openai": "an OpenAI batch file",
    "csv": "a table with a header",
    "tsv": "a table with tabs between its columns",
    "parquet": "Parquet",
    "xlsx": "a spreadsheet",
    "txt": "plain text",
}
_AS_TEXT = "write it as JSON lines, CSV or plain text"
UNSUPPORTED_EXTENSIONS = {
    **dict.fromkeys((".xls", ".ods", ".numbers"), OFFICE),
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf"), "save its text as UTF-8"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), ARCHIVE),
    **dict.fromkeys((".bz2", ".xz", ".lz4", ".br"), COMPRESSED),
    **dict.fromkeys((".feather", ".arrow", ".ipc", ".avro", ".orc"), "write it as Parquet"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".h5", ".hdf5"), DATABASE),
    **dict.fromkeys((".xml", ".html", ".htm", ".yaml", ".yml", ".toml", ".pkl", ".pickle", ".npy", ".npz"), _AS_TEXT),
}


def find_reader(source: Source, form: str | None, noun: str = "prompt file") -> type[FormatReader[Any]]:
    """The reader for `source`: of the form asked for, else of the one that its name and its contents agree on.

    JSON lines and OpenAI batch files share their extensions; the first line tells them apart.

    Args:
        noun: what the file is called in messages.

    Raises:
        UsageError: the form is unknown or unsupported, name and contents disagree, or the file cannot be read.
    """
    if form is not None:
        if form not in READERS:
            raise UsageError(f"{form!r} is not a {noun} format; formats: {', '.join(READERS)}")
        return READERS[form]
    extension = _extension(source.name)
    if extension in UNSUPPORTED_EXTENSIONS:
        raise UsageError(f"{source.name}: {extension} files are not supported; {UNSUPPORTED_EXTENSIONS[extension]}")
    if FORMATS_BY_EXTENSION.get(extension) == "xlsx":
        return READERS["xlsx"]
    head = _head(source)
    if (foreign := foreign_kind(head)) is not None:
        kind, advice = foreign
        raise UsageError(f"{source.name}: is {kind}, not a {noun}; {advice}")
    return READERS[_agreed_form(source.name, FORMATS_BY_EXTENSION.get(extension), head, noun)]


def without_compression(name: str) -> str:
    """A file's name without `.gz` or `.zst`."""
    return name[: name.rindex(".")] if name.lower().endswith((".gz", ".zst")) else name


def _extension(name: str) -> str:
    return PurePath(without_compression(name)).suffix.lower()


def _head(source: Source) -> bytes:
    stream, head = decompressed(source), b""
    while len(head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(head))):
        head += block
    return head


def _agreed_form(name: str, named: str | None, head: bytes, noun: str) -> str:
    """The form on which a file's name and its contents agree.

    Raises:
        UsageError: they do not.
    """
    found = form_of(head)
    if found is None or found == named:
        return named or "txt"
    if named is None and found not in ("csv", "tsv"):
        return "jsonl" if found == "json" else found
    if (named, found) in (("jsonl", "openai"), ("jsonl", "json")):
        return "openai" if found == "openai" else "jsonl"
    if named in ("csv", "tsv") and found in ("csv", "tsv"):
        return named
    raise _disagreement(name, named, found, noun)


def _disagreement(name: str, named: str | None, found: str, noun: str) -> UsageError:
    meant = named or "txt"
    unnamed = "would be read as plain text" + (", each line a prompt" if noun == "prompt file" else "")
    claim = f"is named {_extension(name)}" if named else unnamed
    return UsageError(
        f"{name}: {claim}, but it looks like {LOOKS[found]}; say --form {'jsonl' if found == 'json' else found} "
        f"to read it as that, or --form {meant} if it is {LOOKS[meant]}"
    )
