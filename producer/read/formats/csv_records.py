"""Records of a table in text: cells may be quoted and may span lines, as in RFC 4180.

A record's number is that of the physical line where it starts. Knows nothing of headers and columns.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from contract.errors import Problem, UsageError
from producer.read.formats.csv_syntax import CsvSyntax
from producer.read.lines import BOM, MAX_LINE, text_problem
from producer.read.row_parser import BadRow

_SYNTAX_MESSAGES = {
    "unexpected end of data": "opens a quote that is never closed; close it, or double it inside a quoted cell",
    "expected after '\"'": 'continues after a closing quote; write a quote inside a cell as ""',
    "new-line character seen": "has a lone carriage return; end lines with LF or CRLF",
}

LINE_OVERHEAD = 100  # bytes of memory that a line takes besides its own


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One record: its cells, or why it has none, and its bytes."""

    cells: list[str] | Problem
    raw: bytes


def csv_records(
    lines: Iterator[tuple[int, bytes]], name: str, syntax: CsvSyntax, longest: int = MAX_LINE
) -> Iterator[tuple[int, CsvRecord]]:
    """Each record, good or bad, after the number of the line where it starts; blank lines are records too.

    Raises:
        UsageError: it is unclear where a record ends.
    """
    # The csv module's limit, 128 KiB, holds for the whole process; `_RecordLines` enforces ours for each record.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * longest))
    record_lines = _RecordLines(lines, name, syntax, longest)
    reader = csv.reader(
        record_lines, strict=True, delimiter=syntax.delimiter, skipinitialspace=syntax.skips_blanks
    )  # fmt: skip
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

    def __init__(self, lines: Iterator[tuple[int, bytes]], name: str, syntax: CsvSyntax, longest: int) -> None:
        self._numbered, self._name, self._syntax, self._longest = lines, name, syntax, longest
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
        while self._ahead_size <= self._longest and b'"' not in self._last_ahead:
            numbered = next(self._numbered, None)
            if numbered is None:
                break
            self._ahead.append(numbered)
            self._ahead_size += len(numbered[1]) + LINE_OVERHEAD
        last = self._last_ahead
        if b'"' in last and not self._syntax.opens_quote(last):  # it closes a quote that was opened before
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
        if not self.first:
            self.first, line = number, line.removeprefix(BOM)
        self.lines.append(line)
        self._size += len(line) + 1
        if self._size > self._longest + 1:
            raise UsageError(
                f"{self._name}: line {self.first:,}: the record that starts here is over {self._longest >> 20} MB; "
                "close a quote that was left open, or shorten the text"
            )
        # Bytes that are not UTF-8 pass here, so that the end of the record is found; `_cells` refuses them.
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _from_ahead(self) -> tuple[int, bytes]:
        number, line = self._ahead.popleft()
        self._ahead_size -= len(line) + LINE_OVERHEAD
        return number, line


def cells_of(record: CsvRecord, longest: int = MAX_LINE) -> list[str]:
    """The cells of a record.

    Raises:
        BadRow: it has none, or is not text.
    """
    problem = text_problem(record.raw, longest)
    if problem:
        raise BadRow(problem)
    if isinstance(record.cells, Problem):
        raise BadRow(record.cells)
    return record.cells


def _syntax_problem(error: csv.Error) -> Problem:
    message = next((message for part, message in _SYNTAX_MESSAGES.items() if part in str(error)), None)
    return Problem("", message or f"is not CSV ({error})")
