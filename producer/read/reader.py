"""The base class of the readers, of which each format of a prompt file has one: from bytes to records, to fields.

A reader knows the syntax of its format. The job's settings, and what a good row is, are for `producer.read.row_parser`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from producer.source import Source

Record = TypeVar("Record")


class FormatReader(ABC, Generic[Record]):
    """Reads one prompt file. Creating it reads no more than the file's first lines.

    Raises (from any method):
        UsageError: the file as a whole cannot be used.
    """

    name: ClassVar[str]  # of the format
    extension: ClassVar[str]  # of the file that bad records are written to
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # the format's own default settings

    def __init__(self, source: Source) -> None:
        self.source = source
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
