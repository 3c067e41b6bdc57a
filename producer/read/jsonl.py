"""JSON lines: one object a line, whose names are those of a row.

Also the base of OpenAI batch files: reads one JSON object, or says why it cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from contract.errors import Problem, UsageError
from producer.decompression import decompressed
from producer.read.foreign_fields import drop_neutral
from producer.read.lines import MAX_LINE, TOO_LONG, numbered_lines, text_problem
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow, printable, type_name
from producer.source import Source

_NAME_AND_COLON = re.compile(rb'"\s*:')


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object on `line`; None if the line is blank.

    Raises:
        BadRow: it is not a JSON object, is too long, or has a name twice.
    """
    if len(line) > MAX_LINE:
        raise BadRow(TOO_LONG)
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            return None
        raise BadRow(text_problem(line) or _syntax_problem(error)) from None
    if type(value) is not dict:
        raise BadRow(Problem("", f'must be a JSON object such as {{"prompt": "Once"}}, not {type_name(value)}'))
    # Counting is fast, and counts too many only if a text itself looks like a name; only then is the slow check needed.
    if len(_NAME_AND_COLON.findall(line)) > _count_names(value):
        _check_duplicate_names(line)
    return value


def _count_names(value: object) -> int:
    """How many names the objects in a JSON value have, nested ones included."""
    count, pending = 0, [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            count += len(item)
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return count


def _check_duplicate_names(line: bytes) -> None:
    """JSON readers silently take the last of two equal names in an object."""
    try:
        json.loads(line, object_pairs_hook=_refuse_duplicates)
    except BadRow:
        raise
    except (RecursionError, ValueError):
        return  # nested deeper, or a longer number, than this reader accepts; orjson accepted it


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise BadRow(Problem(printable(name), "appears twice in one object; keep one"))
        seen.add(name)


def begins_array(line: bytes) -> bool:
    """Whether `line` begins a JSON array of objects, not just a text in brackets or a list of something else."""
    return re.match(rb"\s*\[\s*(\{|$)", line) is not None


def _syntax_problem(error: orjson.JSONDecodeError) -> Problem:
    if "surrogate" in error.msg:
        return Problem(
            "", f"has half of a surrogate pair at column {error.colno}, which is not a character; escape both halves"
        )
    return Problem("", f"is not JSON ({error.msg}, column {error.colno}); each line must be one complete object")


class LineReader(FormatReader[bytes]):
    """A reader whose records are lines."""

    def records(self) -> Iterator[tuple[int, bytes]]:
        return numbered_lines(decompressed(self.source), self.source.name)

    def raw(self, record: bytes) -> bytes:
        return record


class JsonlReader(LineReader):
    """`{"prompt": …, "custom_id"?: …, settings …, "metadata"?: {}}` on each line."""

    name, extension = "jsonl", ".jsonl"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        first = next((line for _, line in self.records() if line.strip()), b"")
        if begins_array(first):
            raise UsageError(f"{source.name}: is a JSON array; write one object per line, for example with 'jq -c .[]'")

    def fields(self, record: bytes) -> dict[str, Any] | None:
        fields = read_object(record)
        if fields is not None:
            drop_neutral(fields)
        return fields
