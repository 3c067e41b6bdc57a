"""Which column of a table is the prompt, the custom_id, a setting, or metadata.

Knows names and cells; the files they come from are CSV's and Parquet's own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from common.near_misses import nearest
from contract.errors import Problem, UsageError
from contract.sampling import CANONICAL, MAX_LENGTH, parse_cell
from producer.read.admission import MAX_NAME, NAMES, BadRow, kind, shown

MOST_COLUMNS = 1000
LONGEST_NAME = 512  # characters: a name is stored with every row that has something in its column
MOST_NOTED = 20  # column names in one note


class Columns:
    """The columns of one table, by the part each one plays.

    A `prompt` column is needed, unless the table has only one. What is no field of a row becomes metadata;
    a name that is nearly a field's is taken for a slip.

    Raises:
        UsageError: a name is nearly a field's, stands twice or is too long, no column holds the prompt, or there are
            too many.
    """

    def __init__(self, names: Sequence[str], source: str) -> None:
        if len(names) > MOST_COLUMNS:
            raise UsageError(
                f"{source}: has {len(names):,} columns, but at most {MOST_COLUMNS:,} are read; leave out the rest"
            )
        self.notes: list[str] = []
        self._names = [name or f"column {place}" for place, name in enumerate(names, 1)]
        if len(names) == 1 and names[0] not in NAMES:
            self._take_single(names[0], source)
        problems = [*_too_long(self._names), *_twice(self._names), *(slip for slip in map(_slip, self._names) if slip)]
        if "prompt" not in self._names:
            problems.append(
                f"no column is named 'prompt'; rename the one with the prompts. Columns: {_listed(self._names)}"
            )
        if problems:
            raise UsageError(f"{source}: " + "\n  ".join(problems))
        kept = [name for name in self._names if name not in NAMES]
        if kept:
            self.notes.append(f"columns kept as metadata: {_listed(kept)}")

    def _take_single(self, name: str, source: str) -> None:
        if any(mark in name for mark in ";\t|"):
            raise UsageError(f"{source}: the header is one column, {shown(name)!r}; separate columns with commas")
        self.notes.append(f"the only column, {shown(name)!r}, is read as the prompt, and the first line as its name")
        self._names = ["prompt"]

    def fields(self, cells: Sequence[object]) -> dict[str, Any]:
        """What one record says. A cell that is empty or None counts as absent, but an empty prompt is a prompt.

        Args:
            cells: text, or parsed values; one for each column.

        Raises:
            BadRow: there are more or fewer cells than columns, or the metadata cannot be read.
        """
        if len(cells) != len(self._names):
            raise BadRow(
                Problem(
                    "",
                    f"has {_counted(len(cells), 'cell')}, but the header has {_counted(len(self._names), 'column')}; "
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
                fields[name] = _object(cell)
            elif name in NAMES:
                fields[name] = cell
            else:
                metadata[name] = cell
        if metadata:
            fields["metadata"] = _joined(fields.get("metadata"), metadata)
        return fields


def _object(cell: object) -> dict[str, object]:
    value = cell
    if isinstance(cell, str):
        try:
            value = orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise BadRow(Problem("metadata", 'must be a JSON object, for example {"topic": "sea"}')) from None
    if not isinstance(value, dict):
        raise BadRow(Problem("metadata", f"must be a JSON object, not {kind(value)}"))
    return value


def _joined(said: dict[str, object] | None, columns: dict[str, object]) -> dict[str, object]:
    both = sorted(columns.keys() & (said or {}).keys())
    if both:
        raise BadRow(Problem("metadata", f"has {shown(both[0])!r}, which is also a column; keep one"))
    return {**(said or {}), **columns}


def _slip(name: str) -> str | None:
    if name in NAMES:
        return None
    if name == "max_length":
        return f"column 'max_length' {MAX_LENGTH}"
    near = nearest(name, NAMES) if len(name) <= MAX_NAME else None
    if near is None:
        return None
    return f"column {shown(name)!r} looks like {near!r}; rename it to that, or to something else to keep it as metadata"


def _too_long(names: Sequence[str]) -> Iterable[str]:
    return [
        f"column {shown(name)!r} has a name of {len(name):,} characters; shorten it to at most {LONGEST_NAME}"
        for name in names
        if len(name) > LONGEST_NAME
    ]


def _twice(names: Sequence[str]) -> Iterable[str]:
    counts = {name: names.count(name) for name in dict.fromkeys(names)} if len(set(names)) < len(names) else {}
    return [
        f"column {shown(name)!r} appears {count} times; rename all but one"
        for name, count in counts.items()
        if count > 1
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NOTED:,} more" if len(names) > MOST_NOTED else ""
    return ", ".join(map(shown, names[:MOST_NOTED])) + more


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
