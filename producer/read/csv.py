"""CSV with a header: cells may be quoted and may span lines, as in RFC 4180.

A record's number is that of the physical line where it starts. `producer.read.columns` knows what a column means.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contract.errors import Problem, UsageError
from producer.decompression import decompressed
from producer.read.columns import Columns
from producer.read.lines import MAX_LINE, numbered_lines, text_problem
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow
from producer.source import Source

_SYNTAX_MESSAGES = {
    "unexpected end of data": "opens a quote that is never closed; close it, or double it inside a quoted cell",
    "',' expected after '\"'": 'continues after a closing quote; write a quote inside a cell as ""',
    "new-line character seen": "has a lone carriage return; end lines with LF or CRLF",
}

_OPENING_QUOTE = re.compile(rb'([^"]*,)? *"')  # matches if the first quote of a line begins a cell
LINE_OVERHEAD = 100  # bytes of memory that a line takes besides its own
ONLY_COMMAS = Problem("", 'has nothing but commas; remove it, or write "" for an empty prompt')
"""The problem with a row that spreadsheets write after the last one."""


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One record: its cells, or why it has none, and its bytes."""

    cells: list[str] | Problem
    raw: bytes


class CsvReader(FormatReader[CsvRecord]):
    """A comma-separated table whose first record names the columns."""

    name, extension = "csv", ".csv"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        header = next((record for _, record in self._all_records() if record.raw.strip()), None)
        self._columns: Columns | None = None
        if header is None:
            return
        try:
            names = _cells(header)
        except BadRow as error:
            raise UsageError(f"{source.name}: the header {error}") from None
        self._columns = Columns([name.strip() for name in names], source.name)
        self.header = header.raw + b"\n"
        self.notes = self._columns.notes

    def records(self) -> Iterator[tuple[int, CsvRecord]]:
        records = self._all_records()
        for _, record in records:
            if record.raw.strip():
                break
        yield from records

    def fields(self, record: CsvRecord) -> dict[str, Any] | None:
        if not record.raw.strip() or self._columns is None:
            return None
        cells = _cells(record)
        if len(cells) > 1 and not record.raw.strip(b", \t\r\n"):
            raise BadRow(ONLY_COMMAS)
        return self._columns.fields(cells)

    def raw(self, record: CsvRecord) -> bytes:
        return record.raw

    def _all_records(self) -> Iterator[tuple[int, CsvRecord]]:
        # The csv module's limit, 128 KiB, holds for the whole process; `_RecordLines` enforces ours for each record.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE))
        record_lines = _RecordLines(self.source)
        reader = csv.reader(record_lines, strict=True)
        while True:
            record_lines.start_record()
            cells: list[str] | Problem
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = _syntax_problem(error)
                record_lines.check_end()
            yield record_lines.first, CsvRecord(cells, b"\n".join(record_lines.lines))


class _RecordLines:
    """Physical lines for the csv reader; remembers those of the current record.

    If a record grows too long, it is unclear where it was meant to end and where the next one begins, so the whole
    file is refused.
    """

    def __init__(self, source: Source) -> None:
        self._name = source.name
        self._numbered = numbered_lines(decompressed(source), source.name)
        self._ahead: deque[tuple[int, bytes]] = deque()  # read ahead; only the last one may contain a quote
        self._ahead_size = 0
        self.start_record()

    def start_record(self) -> None:
        self.first, self.lines, self._size = 0, list[bytes](), 0

    def check_end(self) -> None:
        """Checks that a broken record ended with its line; otherwise its rest would be read as the next record.

        Raises:
            UsageError: it may go on.
        """
        while self._ahead_size <= MAX_LINE and b'"' not in self._last_ahead:
            numbered = next(self._numbered, None)
            if numbered is None:
                break
            self._ahead.append(numbered)
            self._ahead_size += len(numbered[1]) + LINE_OVERHEAD
        last = self._last_ahead
        if b'"' in last and not _OPENING_QUOTE.match(last):  # it closes a quote that was opened before
            raise UsageError(
                f"{self._name}: line {self.first:,}: continues after a closing quote, so it is unclear where the "
                'record ends; write a quote inside a cell as ""'
            )

    @property
    def _last_ahead(self) -> bytes:
        return self._ahead[-1][1] if self._ahead else b""

    def __iter__(self) -> _RecordLines:
        return self

    def __next__(self) -> str:
        number, line = self._from_ahead() if self._ahead else next(self._numbered)
        self.first = self.first or number
        self.lines.append(line)
        self._size += len(line) + 1
        if self._size > MAX_LINE + 1:
            raise UsageError(
                f"{self._name}: line {self.first:,}: the record that starts here is over 1 MB; "
                "close a quote that was left open, or shorten the prompt"
            )
        # Bytes that are not UTF-8 pass here, so that the end of the record is found; `_cells` refuses them.
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _from_ahead(self) -> tuple[int, bytes]:
        number, line = self._ahead.popleft()
        self._ahead_size -= len(line) + LINE_OVERHEAD
        return number, line


def _cells(record: CsvRecord) -> list[str]:
    problem = text_problem(record.raw)
    if problem:
        raise BadRow(problem)
    if isinstance(record.cells, Problem):
        raise BadRow(record.cells)
    return record.cells


def _syntax_problem(error: csv.Error) -> Problem:
    message = next((message for start, message in _SYNTAX_MESSAGES.items() if str(error).startswith(start)), None)
    return Problem("", message or f"is not CSV ({error})")
