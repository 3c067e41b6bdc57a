"""Which column of a table is the prompt, the custom_id, a setting, or metadata.

Knows names and cells, not the files they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from common.near_misses import nearest
from contract.errors import Problem, UsageError
from contract.sampling import CANONICAL, MAX_LENGTH, parse_cell
from producer.read.row_parser import FIELD_NAMES, MAX_NAME, BadRow, printable, type_name

MAX_COLUMNS = 1000
MAX_COLUMN_NAME = 512  # characters; a name is stored with every row that has a value in its column
MAX_NAMES_IN_NOTE = 20  # column names in one note


class Columns:
    """The columns of one table, and what each one holds.

    There must be a `prompt` column, unless the table has only one column. Columns that are not fields of a row become
    metadata; a name close to that of a field is taken for a mistake.

    Raises:
        UsageError: a name is close to a field's, is used twice or is too long, no column holds the prompt, or there are
            too many columns.
    """

    def __init__(self, names: Sequence[str], source: str) -> None:
        if len(names) > MAX_COLUMNS:
            raise UsageError(
                f"{source}: has {len(names):,} columns, but at most {MAX_COLUMNS:,} are read; leave out the rest"
            )
        self.notes: list[str] = []
        self._names = [name or f"column {number}" for number, name in enumerate(names, 1)]
        if len(names) == 1 and names[0] not in FIELD_NAMES:
            self._take_single(names[0], source)
        near_misses = [problem for name in self._names if (problem := _near_miss(name))]
        problems = [*_overlong_names(self._names), *_duplicate_names(self._names), *near_misses]
        if "prompt" not in self._names:
            problems.append(
                f"no column is named 'prompt'; rename the one with the prompts. Columns: {_name_list(self._names)}"
            )
        if problems:
            raise UsageError(f"{source}: " + "\n  ".join(problems))
        kept = [name for name in self._names if name not in FIELD_NAMES]
        if kept:
            self.notes.append(f"columns kept as metadata: {_name_list(kept)}")

    def _take_single(self, name: str, source: str) -> None:
        if any(delimiter in name for delimiter in ";\t|"):
            raise UsageError(f"{source}: the header is one column, {printable(name)!r}; separate columns with commas")
        self.notes.append(
            f"the only column, {printable(name)!r}, is read as the prompt, and the first line as its name"
        )
        self._names = ["prompt"]

    def fields(self, cells: Sequence[object]) -> dict[str, Any]:
        """The fields of one record. An empty cell or None counts as absent, but an empty prompt is a prompt.

        Args:
            cells: text, or parsed values.

        Raises:
            BadRow: there are more or fewer cells than columns, or the metadata cannot be read.
        """
        if len(cells) != len(self._names):
            raise BadRow(
                Problem(
                    "",
                    f"has {_count_of(len(cells), 'cell')}, but the header has {_count_of(len(self._names), 'column')}; "
                    "quote cells that contain commas or line breaks",
                )
            )
        fields: dict[str, Any] = {}
        metadata: dict[str, object] = {}
        for name, cell in zip(self._names, cells, strict=True):
            if cell is None or (cell == "" and name != "prompt"):
                continue
            if name in CANONICAL:
                fields[name] = parse_cell(CANONICAL[name], cell) if isinstance(cell, str) else cell
            elif name == "metadata":
                fields[name] = _metadata_object(cell)
            elif name in FIELD_NAMES:
                fields[name] = cell
            else:
                metadata[name] = cell
        if metadata:
            fields["metadata"] = _merge_metadata(fields.get("metadata"), metadata)
        return fields


def _metadata_object(cell: object) -> dict[str, object]:
    value = cell
    if isinstance(cell, str):
        try:
            value = orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise BadRow(Problem("metadata", 'must be a JSON object, for example {"topic": "sea"}')) from None
    if not isinstance(value, dict):
        raise BadRow(Problem("metadata", f"must be a JSON object, not {type_name(value)}"))
    return value


def _merge_metadata(metadata: dict[str, object] | None, columns: dict[str, object]) -> dict[str, object]:
    duplicates = sorted(columns.keys() & (metadata or {}).keys())
    if duplicates:
        raise BadRow(Problem("metadata", f"has {printable(duplicates[0])!r}, which is also a column; keep one"))
    return {**(metadata or {}), **columns}


def _near_miss(name: str) -> str | None:
    if name in FIELD_NAMES:
        return None
    if name == "max_length":
        return f"column 'max_length' {MAX_LENGTH}"
    near = nearest(name, FIELD_NAMES) if len(name) <= MAX_NAME else None
    if near is None:
        return None
    return (
        f"column {printable(name)!r} looks like {near!r}; rename it to that, "
        "or to something else to keep it as metadata"
    )


def _overlong_names(names: Sequence[str]) -> Iterable[str]:
    return [
        f"column {printable(name)!r} has a name of {len(name):,} characters; shorten it to at most {MAX_COLUMN_NAME}"
        for name in names
        if len(name) > MAX_COLUMN_NAME
    ]


def _duplicate_names(names: Sequence[str]) -> Iterable[str]:
    counts = {name: names.count(name) for name in dict.fromkeys(names)} if len(set(names)) < len(names) else {}
    return [
        f"column {printable(name)!r} appears {count} times; rename all but one"
        for name, count in counts.items()
        if count > 1
    ]


def _name_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_IN_NOTE:,} more" if len(names) > MAX_NAMES_IN_NOTE else ""
    return ", ".join(map(printable, names[:MAX_NAMES_IN_NOTE])) + more


def _count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
