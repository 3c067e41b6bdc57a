"""Metadata as columns of a table: which keys there are, what their columns are called, and of which type they are.

Knows the metadata of a job's prompts, not where it comes from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from contract.errors import UsageError

MAX_COLUMNS = 1000
MAX_NAMES = 1 << 20  # characters of all names together
PREFIX = "metadata_"
"""Before a key that is named like a column of every export, or like another key but for its capitals."""

_EXACT_IN_DOUBLE = 2**53
"""pandas makes doubles of whole numbers of which one is missing: larger ones are text, so that none is ever rounded."""
_TYPES: dict[frozenset[str], str] = {
    frozenset({"bool"}): "bool",
    frozenset({"int"}): "int64",
    frozenset({"float"}): "float64",
    frozenset({"int", "float"}): "float64",
}
"""The type of a column by the kinds of its values; any other mixture is text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataColumn:
    """One key of the metadata, as a column."""

    name: str
    key: str
    type: str  # bool, int64, float64 or string

    def cell(self, metadata: dict[str, Any]) -> Any:
        """The value of one prompt: null where it has none, JSON text where the column is text and the value is not."""
        value = metadata.get(self.key)
        if value is None or isinstance(value, str) or self.type in ("bool", "int64"):
            return value
        return float(value) if self.type == "float64" else orjson.dumps(value).decode()


def metadata_columns(metadata: Iterable[dict[str, Any]], taken: Collection[str]) -> tuple[MetadataColumn, ...]:
    """A column for each key, in the order in which they first occur.

    Args:
        metadata: of every prompt of a job.
        taken: the names of the other columns.

    Raises:
        UsageError: there are too many keys.
    """
    kinds: dict[str, set[str]] = {}
    characters = 0
    for one in metadata:
        for key, value in one.items():
            if key not in kinds:
                kinds[key] = set()
                characters += len(key)
                if len(kinds) > MAX_COLUMNS or characters > MAX_NAMES:
                    raise UsageError(
                        f"--flat: metadata has more than {MAX_COLUMNS:,} different keys, or very long ones, which are "
                        "too many columns; leave out --flat"
                    )
            if value is not None:
                kinds[key].add(_kind(value))
    names = _names(kinds, taken)
    return tuple(
        MetadataColumn(name=names[key], key=key, type=_TYPES.get(frozenset(found), "string"))
        for key, found in kinds.items()
    )


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= _EXACT_IN_DOUBLE else "text"
    return "float" if isinstance(value, float) else "text"


def _names(keys: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """The column of each key. Names that differ only in capitals are one name to many databases."""
    used = {name.casefold() for name in taken}
    names, colliding = {}, []
    for key in keys:
        if not key or key.casefold() in used:
            colliding.append(key)
            continue
        used.add(key.casefold())
        names[key] = key
    for key in colliding:
        name = PREFIX + key
        while name.casefold() in used:
            name = PREFIX + name
        used.add(name.casefold())
        names[key] = name
    return names
