"""The base class of the readers, of which each format of a prompt file has one: from bytes to records, to fields.

A reader knows the syntax of its format. The job's settings, and what a good row is, are for `producer.read.row_parser`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from contract.errors import UsageError
from producer.read.read_options import ReadOptions
from producer.source import Source

Record = TypeVar("Record")


class FormatReader(ABC, Generic[Record]):
    """Reads one prompt file. Creating it reads no more than the file's first lines.

    Raises (from any method):
        UsageError: the file as a whole cannot be used.
    """

    name: ClassVar[str]  # of the format
    extension: ClassVar[str]  # of the file that bad records are written to
    defaults: Mapping[str, Any] = MappingProxyType({})  # the format's own default settings

    delimiter: ClassVar[str | None] = None  # between cells, unless another is asked for; None = it has no cells
    names_fields: ClassVar[bool] = False  # whether the user may say which column or field is the prompt

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self.source, self.options = source, options
        _check_options(self, options)
        self.model: str | None = None  # if the file names one
        self.any_model = False  # whether records may name others: the job's was chosen apart from the file
        self.notes: list[str] = []  # what the user should know before the job runs
        self.header = b""  # the first line of a file of bad records

    @abstractmethod
    def records(self) -> Iterator[tuple[int, Record]]:
        """Each record, after the number of the line on which it starts, from 1."""

    @abstractmethod
    def fields(self, record: Record) -> dict[str, Any] | None:
        """The record's `prompt`, `custom_id`, `metadata` and settings. None for a blank line.

        Raises:
            BadRow: it cannot be read.
        """

    @abstractmethod
    def raw(self, record: Record) -> bytes:
        """The record's bytes in the file, without the last line ending, for the file of bad records."""

    def close(self) -> None:
        """Frees what the reader itself holds; the source stays open."""


def _check_options(reader: FormatReader[Any], options: ReadOptions) -> None:
    """Refuses options that would have no effect."""
    name, form = reader.source.name, reader.name
    if options.delimiter is not None and reader.delimiter is None:
        raise UsageError(f"--delimiter: {name} is read as {form}, which has none; leave it out, or say --form csv")
    if options.names_fields and not reader.names_fields:
        raise UsageError(
            f"--prompt-column, --id-column and --metadata-column: {name} is read as {form}, which has no columns; "
            "leave them out, or say --form csv, tsv, parquet or jsonl"
        )
    if options.empty_prompts and form == "txt":
        raise UsageError(
            f"--empty-prompts: {name} is plain text, whose blank lines are skipped; write JSON lines or CSV"
        )
