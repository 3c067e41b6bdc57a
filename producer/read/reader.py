"""The base class of the readers: one for each format of a prompt file, from bytes to records and from a record to fields.

A reader knows the syntax of its format. The job's settings, and what a good row is, are for `producer.read.row_parser`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from producer.source import Source

Record = TypeVar("Record")


class Form(ABC, Generic[Record]):
    """One prompt file in one form. Making it reads no more than the file's first lines.

    Raises (everywhere):
        UsageError: the file as a whole cannot be used.
    """

    name: ClassVar[str]
    ending: ClassVar[str]  # of the file that bad records are written to
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # settings that the form itself brings

    def __init__(self, source: Source) -> None:
        self.source = source
        self.model: str | None = None  # the one that the file itself names
        self.notes: list[str] = []
        self.header = b""  # what a file of bad records has to begin with

    @abstractmethod
    def records(self) -> Iterator[tuple[int, Record]]:
        """Each record and the number of the line where it starts, from 1."""

    @abstractmethod
    def fields(self, record: Record) -> dict[str, Any] | None:
        """What the record says: `prompt`, `custom_id`, `metadata` and settings. None for a blank line.

        Raises:
            BadRow: it cannot be read.
        """

    @abstractmethod
    def raw(self, record: Record) -> bytes:
        """The record as it stands in the file, without its last line ending, to be written beside the input."""

    def close(self) -> None:
        """Lets go of what the form itself holds."""
