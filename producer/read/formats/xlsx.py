"""Spreadsheets (.xlsx), their first sheet, cell by cell as text. A "line" here is a row, counted from 1.

A cell counts as what a spreadsheet would write into CSV: numbers and dates become text, formulas their last value.
`producer.read.columns` knows what a column means. openpyxl reads them, an optional package.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from typing import Any, BinaryIO, cast

import orjson

from contract.errors import UsageError
from producer.decompression import ALWAYS_ALLOWED_BYTES, MAX_RATIO, compression, spool_decompressed
from producer.dry_run import survives
from producer.read.lines import MAX_LINE, TOO_LONG
from producer.read.own_table import TableColumns, columns_of
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow
from producer.source import Source

SHARED_TEXTS = "xl/sharedStrings.xml"
MAX_SHARED_BYTES = 64 * MAX_LINE
"""Texts that cells share are held in memory, at some three times their size."""

Cells = tuple[str, ...]


class XlsxReader(FormatReader[Cells]):
    """An Excel workbook, which may itself be compressed with gzip or zstd."""

    name, extension = "xlsx", ".jsonl"
    names_fields = True

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        self._spool: BinaryIO | None = None
        self.columns: TableColumns | None = None
        self._names: Cells = ()
        if not source.size:
            return
        if compression(source):
            self._spool = spool_decompressed(source)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        _check_package(self.source.name)
        with _translate_errors(self.source.name):
            _check_size(zipfile.ZipFile(self._file()), self.source)
        if not survives(self._read_header):
            raise UsageError(f"{self.source.name}: is a damaged workbook; save it again, or save the table as CSV")
        others = self._read_header()
        if not self._names:
            return
        self.columns = columns_of([name.strip() for name in self._names], self.source.name, self.options)
        self.notes = self.columns.notes
        if others:
            self.notes.append(f"the first sheet is read, and not the others ({', '.join(others)})")

    def _read_header(self) -> list[str]:
        """Finds the names of the columns; returns the names of the other sheets."""
        with _translate_errors(self.source.name):
            workbook = self._workbook()
            self._names = next((cells for _, cells in _rows(workbook)), ())
            return [str(sheet.title) for sheet in workbook.worksheets[1:]]

    def records(self) -> Iterator[tuple[int, Cells]]:
        if self.columns is None:
            return
        self.columns.begin()
        with _translate_errors(self.source.name):
            rows = _rows(self._workbook())
            next(rows)
            yield from rows

    def fields(self, record: Cells) -> dict[str, Any] | None:
        if self.columns is None:
            return None
        if sum(map(len, record)) > MAX_LINE:
            raise BadRow(TOO_LONG)
        missing = len(self._names) - len(record)
        return self.columns.fields([*record, *[""] * missing])

    def raw(self, record: Cells) -> bytes:
        return orjson.dumps(dict(zip(self._names, record, strict=False)))[: MAX_LINE + 1]

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _workbook(self) -> Any:
        import openpyxl

        return openpyxl.load_workbook(self._file(), read_only=True, data_only=True, keep_links=False)

    def _file(self) -> BinaryIO:
        if self._spool is not None:
            self._spool.seek(0)
            return self._spool
        return cast(BinaryIO, self.source.cursor())


def _check_package(name: str) -> None:
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise UsageError(
            f"{name}: spreadsheets are read with the package openpyxl, which is not installed: pip install openpyxl; "
            "or save the table as CSV in UTF-8"
        ) from None


def _check_size(archive: zipfile.ZipFile, source: Source) -> None:
    """Raises UsageError where the workbook would expand beyond the limits."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    if sum(sizes.values()) > max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * source.size):
        raise UsageError(f"{source.name}: expands to over 1 GB; save the table as CSV in UTF-8")
    if sizes.get(SHARED_TEXTS, 0) > MAX_SHARED_BYTES:
        raise UsageError(f"{source.name}: its texts are over 64 MB; save the table as CSV in UTF-8")


def _rows(workbook: Any) -> Iterator[tuple[int, Cells]]:
    """The rows of the first sheet that hold something, without the empty cells at their ends."""
    sheet = workbook.worksheets[0]
    sheet.reset_dimensions()  # what a file says of them is often wrong
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = tuple(map(_text, row))
        while cells and not cells[-1]:
            cells = cells[:-1]
        if cells:
            yield number, cells


def _text(value: object) -> str:
    """A cell as CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value.isoformat() if isinstance(value, date | time) else str(value)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turns openpyxl's errors, which are of any kind, into UsageErrors."""
    try:
        yield
    except (UsageError, GeneratorExit):
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"{name}: is no .xlsx workbook, or is damaged ({reason}); save it again, or save the table as CSV in UTF-8"
        ) from error
