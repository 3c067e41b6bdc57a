"""The columns of an export in CSV or Parquet: the prompts in it, each taken once.

Knows the columns of such tables, not the files they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from producer.read.columns import Columns, DataColumns
from producer.read.own_output import NOTE, OwnOutput
from producer.read.read_options import ReadOptions
from producer.write.metadata_columns import PREFIX
from producer.write.table import COLUMNS

OF_PROMPTS = ("prompt", "messages", "custom_id", "metadata")
OF_OUTPUTS = frozenset(COLUMNS).difference(OF_PROMPTS)
TELLING = frozenset({"job", "position", "prompt", "id", "sample_index", "text"})
"""A table with all of these is an export."""


class OwnTable:
    """The columns of an export, and what each one says of its prompt.

    Where there is no column `metadata`, the export is one with `--flat`: what is no column of every export is a key of
    the metadata. Elsewhere a column that the user added counts as in any table.

    Raises:
        UsageError: as `Columns` does, of the columns that are read.
    """

    def __init__(self, names: Sequence[str], source: str, options: ReadOptions) -> None:
        said = (*options.renames, *options.metadata_columns)
        self._names = names
        self._places = [place for place, name in enumerate(names) if name not in OF_OUTPUTS or name in said]
        kept = [names[place] for place in self._places]
        self._keys: dict[str, str] = {}
        if "metadata" not in names:
            flat = [name for name in kept if name not in (*OF_PROMPTS, *options.renames)]
            self._keys = {name: _key_of(name, names) for name in flat}
            options = replace(options, metadata_columns=(*options.metadata_columns, *flat))
        self._columns = Columns(kept, source, options, as_exported=True)
        self.notes = [f"{source} {NOTE}", *self._columns.notes]
        self.begin()

    def begin(self) -> None:
        """The table is read from its first row."""
        self._prompts = OwnOutput()

    def fields(self, cells: Sequence[object]) -> dict[str, Any] | None:
        """The fields of the prompt; None if the row before was an output of the same one.

        Raises:
            BadRow: as in `Columns`; or the position goes back.
        """
        self._columns.check_count(cells, self._names)
        row = dict(zip(self._names, cells, strict=True))
        if self._prompts.is_another_of_the_same(_number(row["job"]), _number(row["position"])):
            return None
        fields = self._columns.fields([cells[place] for place in self._places])
        if self._keys and "metadata" in fields:
            fields["metadata"] = self._by_key(fields["metadata"])
        return fields

    def _by_key(self, metadata: Mapping[str, object]) -> dict[str, object]:
        return {self._keys.get(name, name): value for name, value in metadata.items()}


def is_own_table(names: Collection[str], options: ReadOptions) -> bool:
    """Whether it is an export whose prompts are wanted: the user may want its texts for prompts instead."""
    return TELLING.issubset(names) and options.prompt_column == "prompt"


TableColumns = Columns | OwnTable | DataColumns


def columns_of(names: Sequence[str], source: str, options: ReadOptions) -> TableColumns:
    """What the columns of a table hold.

    Raises:
        UsageError: as `Columns` does.
    """
    if options.is_corpus:
        return DataColumns(names, source)
    return (OwnTable if is_own_table(names, options) else Columns)(names, source, options)


def _key_of(name: str, names: Collection[str]) -> str:
    """The key of the metadata whose column this is: `metadata_columns` has put a prefix before one that was taken."""
    key = name
    while key.startswith(PREFIX):
        key = key.removeprefix(PREFIX)
    taken = {other.casefold() for other in (*COLUMNS, *names) if other != name}
    return key if (not key or key.casefold() in taken) and PREFIX + name not in names else name


def _number(cell: object) -> object:
    return int(cell) if isinstance(cell, str) and cell.isdecimal() else cell
