"""Which form a prompt file has: by its name, else by its first bytes.

Knows what tells the forms apart and nothing else of them.
"""

from __future__ import annotations

from pathlib import PurePath

import orjson

from contract.errors import UsageError
from producer.expansion import expanded
from producer.read.csv import Csv
from producer.read.form import Form
from producer.read.jsonl import Jsonl, begins_array
from producer.read.lines import numbered_lines
from producer.read.openai import OpenAi
from producer.read.parquet import Parquet
from producer.read.txt import Text
from producer.source import Source

FORMS: dict[str, type[Form[object]]] = {form.name: form for form in (Jsonl, OpenAi, Csv, Parquet, Text)}  # type: ignore[misc]

ENDINGS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
REFUSED = (".tsv", ".xlsx", ".xls", ".ods")


def find_form(source: Source) -> type[Form[object]]:
    """The form of `source`: the one its name's ending says, or the one its first line shows.

    JSON lines and OpenAI batch files share their endings; the first line tells them apart.

    Raises:
        UsageError: the ending is of a form that is not read.
    """
    ending = _ending(source.name)
    if ending in REFUSED:
        raise UsageError(
            f"{source.name}: {ending} files are not supported; save the table as comma-separated CSV in UTF-8"
        )
    named = ENDINGS.get(ending)
    if named not in (None, "jsonl"):
        return FORMS[named]
    found = _shown_by(source)
    return FORMS[found if named is None or found == "openai" else named]


def without_compression(name: str) -> str:
    """A file's name without `.gz` or `.zst`."""
    return name[: name.rindex(".")] if name.lower().endswith((".gz", ".zst")) else name


def _ending(name: str) -> str:
    return PurePath(without_compression(name)).suffix.lower()


def _shown_by(source: Source) -> str:
    head = expanded(source).read(4)
    if head == b"PAR1":
        return "parquet"
    lines = numbered_lines(expanded(source), source.name)
    first = next((line for _, line in lines if line.strip()), b"").strip()
    if not first.startswith(b"{") and not begins_array(first):
        return "txt"
    return "openai" if _is_request(first) else "jsonl"


def _is_request(line: bytes) -> bool:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:  # a damaged first line still tells by its names
        return b'"body"' in line and b'"url"' in line
    return isinstance(value, dict) and "body" in value and "url" in value
