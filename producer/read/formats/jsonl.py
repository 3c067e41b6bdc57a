"""JSON lines: one object a line, whose names are those of a row; or one array of such objects.

Also the base of OpenAI batch files: reads one JSON object, or says why it cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson

from common.exact_numbers import inexact_number
from contract.errors import Problem, UsageError
from producer.decompression import decompressed
from producer.read.field_names import rename_fields
from producer.read.foreign_fields import drop_neutral
from producer.read.formats.json_array import array_elements
from producer.read.lines import BOM, JOINED_FILES, MAX_LINE, numbered_lines, text_problem, too_long
from producer.read.own_output import NOTE, WITHOUT_PROMPTS, OwnOutput, is_openai_result, kind_of
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow, printable, type_name
from producer.source import Source

_NAME_AND_COLON = re.compile(rb'"\s*:')


def read_object(line: bytes, field: str = "") -> dict[str, Any] | None:
    """The JSON object on `line`, which may be the value of a `field`; None if the line is blank.

    Raises:
        BadRow: it is not a JSON object, is too long, has a name twice, or a number that would not be kept.
    """
    value = parse_object(line)
    if value is None:
        return None
    # Counting is fast, and counts too many only if a text itself looks like a name; only then is the slow check needed.
    if len(_NAME_AND_COLON.findall(line)) > _count_names(value):
        check_duplicate_names(line)
    check_numbers(line, field)
    return value


def parse_object(line: bytes, longest: int = MAX_LINE) -> dict[str, Any] | None:
    """The JSON object on `line` as JSON readers take it, the last of two equal names for one; None if it is blank.

    Raises:
        BadRow: it is not a JSON object, or is too long.
    """
    if len(line) > longest:
        raise BadRow(too_long(longest))
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            return None
        raise BadRow(text_problem(line, longest) or _syntax_problem(error, line)) from None
    if type(value) is not dict:
        raise BadRow(Problem("", f'must be a JSON object such as {{"prompt": "Once"}}, not {type_name(value)}'))
    return value


def check_numbers(text: str | bytes, field: str = "") -> None:
    """Checks that every number in a JSON text is kept as it is written.

    Raises:
        BadRow: one is not.
    """
    number = inexact_number(text)
    if number is not None:
        raise BadRow(Problem(printable(".".join(filter(None, (field, number.path)))), str(number)))


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


def check_duplicate_names(line: bytes) -> None:
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


def spans_lines(line: bytes) -> bool:
    """Whether `line` begins a JSON object that ends on a later line."""
    line = line.strip()
    return line.startswith(b"{") and line.endswith((b"[", b"{", b","))


def _syntax_problem(error: orjson.JSONDecodeError, line: bytes) -> Problem:
    if "surrogate" in error.msg:
        return Problem(
            "", f"has half of a surrogate pair at column {error.colno}, which is not a character; escape both halves"
        )
    if BOM in line:
        return JOINED_FILES
    return Problem("", f"is not JSON ({error.msg}, column {error.colno}); each line must be one complete object")


class LineReader(FormatReader[bytes]):
    """A reader whose records are lines. A byte order mark before one, left by joining files, is dropped."""

    def records(self) -> Iterator[tuple[int, bytes]]:
        for number, line in numbered_lines(decompressed(self.source), self.source.name, self.options.longest):
            yield number, line.removeprefix(BOM)

    def raw(self, record: bytes) -> bytes:
        return record


class JsonReader(LineReader):
    """A reader whose records are JSON objects: one a line, or the elements of one array."""

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        first, second = (*islice((line for _, line in super().records() if line.strip()), 2), b"", b"")[:2]
        self._is_array = begins_array(first)
        if spans_lines(first) and second and not second.lstrip().startswith(b"{"):
            raise UsageError(
                f"{source.name}: has JSON objects over several lines; write one object per line, "
                "for example with 'jq -c .', or an array of objects"
            )

    def records(self) -> Iterator[tuple[int, bytes]]:
        if self._is_array:
            return array_elements(decompressed(self.source), self.source.name, self.options.longest)
        return super().records()

    def raw(self, record: bytes) -> bytes:
        return b" ".join(record.splitlines()) if self._is_array else record


class JsonlReader(JsonReader):
    """`{"prompt": … or "messages": […], "custom_id"?: …, settings …, "metadata"?: {}}` on each line; or an export."""

    name, extension = "jsonl", ".jsonl"
    names_fields = True

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        fields = _fields_of(next((record for _, record in self.records() if record.strip()), b""))
        if is_openai_result(fields):
            raise UsageError(f"{source.name}: {WITHOUT_PROMPTS}")
        self._is_export = kind_of(fields) is not None and not options.is_corpus
        if self._is_export:
            self.notes.append(f"{source.name} {NOTE}")

    def records(self) -> Iterator[tuple[int, bytes]]:
        self._export = OwnOutput()
        return super().records()

    def fields(self, record: bytes) -> dict[str, Any] | None:
        if self.options.is_corpus:
            return parse_object(record, self.options.longest)
        fields = read_object(record)
        if fields and self.options.names_fields:
            fields = rename_fields(fields, self.options)
        if fields is not None:
            drop_neutral(fields)  # after the names: what the user keeps as data is none of these
        return self._export.prompt_of(fields) if fields and self._is_export else fields


def _fields_of(record: bytes) -> dict[str, Any]:
    """What `read_object` makes of it; nothing of a record that it cannot read."""
    with suppress(BadRow):
        return read_object(record) or {}
    return {}
