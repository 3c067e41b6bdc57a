"""Tables in text with a header: CSV and TSV, with any delimiter.

`producer.read.formats.csv_records` knows where a record ends, `producer.read.columns` what a column means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from contract.errors import Problem, UsageError
from producer.decompression import decompressed
from producer.read.contents import DELIMITERS, separator
from producer.read.formats.csv_records import CsvRecord, cells_of, csv_records
from producer.read.formats.csv_syntax import CsvSyntax
from producer.read.lines import BOM, JOINED_FILES, numbered_lines
from producer.read.own_table import OwnTable, TableColumns, columns_of, is_own_table
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow, printable
from producer.source import Source
from producer.write.csv import unguard_formula

MOST_WORDS_OF_A_NAME = 3
ONLY_COMMAS = Problem("", 'has nothing but delimiters; remove it, or write "" and take it with --empty-prompts')
"""The problem with a row that spreadsheets write after the last one."""
REPEATED_HEADER = Problem("", "repeats the header, as where files were joined; remove it")
GUARDED = (
    "was exported for spreadsheets: apostrophes before what a spreadsheet would take for a formula are taken off again"
)
BLANK_BEFORE_QUOTE = Problem("", "has a blank before a quote, which makes the quote part of the text; remove the blank")


class CsvReader(FormatReader[CsvRecord]):
    """A table whose first record names the columns; a line `sep=;` may stand above it, as Excel has it."""

    name, extension, delimiter = "csv", ".csv", ","
    names_fields = True

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        self.columns: TableColumns | None = None
        self._is_guarded = False  # an export for spreadsheets, with apostrophes before what looks like a formula
        self._header_cells: list[str] = []
        first = next((line for _, line in self._lines() if line.strip()), b"")
        separator_named = separator(first)
        self._preamble = first + b"\n" if separator_named else b""
        self._syntax = CsvSyntax(options.delimiter or separator_named or self.delimiter)
        if not first:
            return
        if options.delimiter is None and separator_named is None:
            self._find_delimiter()
        self._find_blanks()
        header = self._read_header()
        self._header_cells = self._cells_of_header(header)
        names = [name.strip() for name in self._header_cells]
        self._check_single(names)
        if is_own_table(names, options):
            self._is_guarded = self._has_bom()
            names = [unguard_formula(name) if self._is_guarded else name for name in self._header_cells]
        self.columns = columns_of(names, source.name, options)
        self.header = self._preamble + header.raw + b"\n"
        self.notes += self.columns.notes
        if self._is_guarded:
            self.notes.append(GUARDED)

    def records(self) -> Iterator[tuple[int, CsvRecord]]:
        if self.columns is not None:
            self.columns.begin()
        records = self._all_records()
        for _, record in records:
            if not self._syntax.is_empty(record.raw):
                break
        yield from records

    def fields(self, record: CsvRecord) -> dict[str, Any] | None:
        if self.columns is None or self._syntax.is_empty(record.raw):
            return None
        cells = cells_of(record, self.options.longest)
        if cells == self._header_cells:
            raise BadRow(REPEATED_HEADER)
        if not isinstance(self.columns, OwnTable):  # an export has whatever was in the prompts
            self._check_meaning(record, cells)
        return self.columns.fields([unguard_formula(cell) for cell in cells] if self._is_guarded else cells)

    def raw(self, record: CsvRecord) -> bytes:
        return record.raw

    def _check_meaning(self, record: CsvRecord, cells: Sequence[str]) -> None:
        """Refuses a record that a reader of CSV accepts, but nobody meant."""
        if len(cells) > 1 and not record.raw.strip(self._syntax.blank_bytes):
            raise BadRow(ONLY_COMMAS)
        if BOM in record.raw and b'"' not in record.raw:
            raise BadRow(JOINED_FILES)
        if self._syntax.has_blank_before_quote(record.raw, cells):
            raise BadRow(BLANK_BEFORE_QUOTE)

    def _has_bom(self) -> bool:
        return decompressed(self.source).read(len(BOM)) == BOM

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        return numbered_lines(decompressed(self.source), self.source.name, self.options.longest)

    def _all_records(self) -> Iterator[tuple[int, CsvRecord]]:
        lines = self._lines()
        if self._preamble:
            next(line for _, line in lines if line.strip())
        return csv_records(lines, self.source.name, self._syntax, self.options.longest)

    def _read_header(self) -> CsvRecord:
        return next((record for _, record in self._all_records() if record.raw.strip()), CsvRecord([], b""))

    def _cells_of_header(self, header: CsvRecord) -> list[str]:
        try:
            return cells_of(header)
        except BadRow as error:
            raise UsageError(f"{self.source.name}: the header {error}") from None

    def _find_delimiter(self) -> None:
        """If the header is a single cell that another delimiter would divide, one of them the prompt, takes that."""
        names = self._cells_of_header(self._read_header())
        if len(names) != 1:
            return
        known = {self.options.prompt_column, *self.options.corpus_columns}
        for delimiter in DELIMITERS:
            parts = [part.strip(' "') for part in names[0].split(delimiter)]
            if len(parts) > 1 and known.intersection(parts):
                self._syntax = CsvSyntax(delimiter)
                self.notes.append(f"the cells are separated by {delimiter!r}, as in the header")
                return

    def _find_blanks(self) -> None:
        """If the header has a blank after each delimiter, they belong to no cell."""
        later_names = self._cells_of_header(self._read_header())[1:]
        if later_names and all(name.startswith(" ") for name in later_names):
            self._syntax = replace(self._syntax, skips_blanks=True)
            self.notes.append("blanks after the delimiters are left out, as the header has them too")

    def _check_single(self, names: Sequence[str]) -> None:
        """Refuses a first line that is a prompt rather than the name of a column."""
        if len(names) == 1 and len(names[0].split()) > MOST_WORDS_OF_A_NAME:
            raise UsageError(
                f"{self.source.name}: has no header, as its first line is {printable(names[0])!r}; write 'prompt' "
                "above it, or say --form txt if each line is a prompt"
            )


class TsvReader(CsvReader):
    """A table with tabs between its cells. Quotes mean what they mean in CSV."""

    name, extension, delimiter = "tsv", ".tsv", "\t"
