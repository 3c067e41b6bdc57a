"""JSON lines: one object a line, its names those of a row.

Also what OpenAI batch files build on: reading one JSON object and saying why it is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from contract.errors import Problem, UsageError
from producer.decompression import expanded
from producer.read.lines import MAX_LINE, TOO_LONG, numbered_lines, unreadable
from producer.read.reader import Form
from producer.read.row_parser import BadRow, kind, shown
from producer.source import Source

_NAME = re.compile(rb'"\s*:')


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object on `line`; None where the line is blank.

    Raises:
        BadRow: it is none, and why.
    """
    if len(line) > MAX_LINE:
        raise BadRow(TOO_LONG)
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as wrong:
        if not line.strip():
            return None
        raise BadRow(unreadable(line) or _syntax(wrong)) from None
    if type(value) is not dict:
        raise BadRow(Problem("", f'must be a JSON object such as {{"prompt": "Once"}}, not {kind(value)}'))
    # Counting is quick, and wrong only where a text itself looks like a name: looking closely is slow.
    if len(_NAME.findall(line)) > _names(value):
        _check_names(line)
    return value


def _names(value: object) -> int:
    """How many names of objects there are in a JSON value."""
    count, waiting = 0, [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            count += len(inner)
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return count


def _check_names(line: bytes) -> None:
    """Of a name that stands twice in an object, readers of JSON take the last one without a word."""
    try:
        json.loads(line, object_pairs_hook=_once)
    except BadRow:
        raise
    except (RecursionError, ValueError):
        return  # deeper, or a longer number, than that reader takes: the quick one was content


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise BadRow(Problem(shown(name), "appears twice in one object; keep one"))
        seen.add(name)


def begins_array(line: bytes) -> bool:
    """Whether `line` begins a JSON array of rows, and is not just a text in brackets, or a list that is no row."""
    return re.match(rb"\s*\[\s*(\{|$)", line) is not None


def _syntax(wrong: orjson.JSONDecodeError) -> Problem:
    if "surrogate" in wrong.msg:
        return Problem(
            "", f"has half of a surrogate pair at column {wrong.colno}, which is not a character; escape both halves"
        )
    return Problem("", f"is not JSON ({wrong.msg}, column {wrong.colno}); each line must be one complete object")


class LineForm(Form[bytes]):
    """A form whose record is a line."""

    def records(self) -> Iterator[tuple[int, bytes]]:
        return numbered_lines(expanded(self.source), self.source.name)

    def raw(self, record: bytes) -> bytes:
        return record


class Jsonl(LineForm):
    """`{"prompt": …, "custom_id"?: …, settings …, "metadata"?: {}}` on each line."""

    name, ending = "jsonl", ".jsonl"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        first = next((line for _, line in self.records() if line.strip()), b"")
        if begins_array(first):
            raise UsageError(f"{source.name}: is a JSON array; write one object per line, for example with 'jq -c .[]'")

    def fields(self, record: bytes) -> dict[str, Any] | None:
        return read_object(record)
