"""Fields under the names that the user's file has for them, and data beside them that goes into the metadata.

Knows names, not the files they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract.errors import Problem
from producer.read.read_options import ReadOptions
from producer.read.row_parser import BadRow, printable


def rename_fields(fields: Mapping[str, Any], options: ReadOptions) -> dict[str, Any]:
    """The fields by the names that a row has for them; what the user wants as data goes into the metadata.

    Raises:
        BadRow: a name is in the metadata as well.
    """
    row: dict[str, Any] = {}
    data: dict[str, object] = {}
    for name, value in fields.items():
        field = field_of(name, options)
        if field is None:
            data[name] = value
        else:
            row[field] = value
    if data and isinstance(row.get("metadata") or {}, dict):  # the parser refuses metadata of another type
        row["metadata"] = merge_metadata(row.get("metadata"), data)
    return row


def field_of(name: str, options: ReadOptions) -> str | None:
    """The field that a name in the file stands for; None if it is the name of data."""
    if name in options.renames:
        return options.renames[name]
    if name in options.metadata_columns or name in options.renames.values():
        return None
    if name == "messages" and options.prompt_column != "prompt":
        return None  # the user has said where the prompts are
    return name


def merge_metadata(metadata: dict[str, object] | None, data: dict[str, object]) -> dict[str, object]:
    """Metadata with the data of other columns or fields.

    Raises:
        BadRow: both have the same name.
    """
    duplicates = sorted(data.keys() & (metadata or {}).keys())
    if duplicates:
        raise BadRow(Problem("metadata", f"has {printable(duplicates[0])!r}, which is also a column; keep one"))
    return {**(metadata or {}), **data}
