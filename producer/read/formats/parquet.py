"""Parquet files, read batch by batch. A "line" here is a row, counted from 1.

Every row is converted to JSON first: dates and times become ISO 8601 text (to the microsecond), decimals and durations
become text, NaN counts as absent, infinities and bytes are refused. `producer.read.columns` knows what a column means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from contract.errors import Problem, UsageError
from producer.decompression import compression, spool_decompressed
from producer.dry_run import survives
from producer.read.formats.parquet_limits import ParquetLimits, expanded_size
from producer.read.lines import BLOCK_BYTES, MAX_LINE, TOO_LONG, too_long
from producer.read.own_table import TableColumns, columns_of
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow, printable
from producer.source import Cursor, Source

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ARROW_BYTES = 5
"""A row may take so many times the bytes in Arrow's format, where a number takes 8 or 16 of them; in JSON it may take
2. A batch of at most a row's size is converted at once, a larger one row by row: as Python objects it may take 20 times
as much."""

ParquetRecord = dict[str, object] | Problem


class ParquetReader(FormatReader[ParquetRecord]):
    """A Parquet file, which may itself be compressed with gzip or zstd."""

    name, extension = "parquet", ".jsonl"
    names_fields = True

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        self._spool: BinaryIO | None = None
        self.columns: TableColumns | None = None
        if not source.size:
            return
        if compression(source):
            self._spool = spool_decompressed(source)
        try:
            self.columns = self._read_columns()
        except BaseException:
            self.close()
            raise
        self.notes = self.columns.notes

    def records(self) -> Iterator[tuple[int, ParquetRecord]]:
        if self.columns is None:
            return
        self.columns.begin()
        number = 0
        for batch in self._batches():
            with _translate_errors(self.source.name):
                records = _records(_to_microseconds(batch), self.options.longest)
            for number, record in enumerate(records, number + 1):  # noqa: B020
                yield number, record

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with _translate_errors(self.source.name):
            limits = ParquetLimits(self._open_file(), self.source.name, self.source.size)
            file, dictionaries = self._open_file(limits.text_list_columns), self._open_file(limits.text_columns)
            bytes_left = limits.max_bytes
            for row_group in range(limits.row_group_count):
                rows = limits.batch_rows(row_group, dictionaries)
                for batch in file.iter_batches(rows, [row_group], use_threads=False):
                    bytes_left -= expanded_size(batch)
                    if bytes_left < 0:
                        raise limits.too_large()
                    yield batch

    def fields(self, record: ParquetRecord) -> dict[str, Any] | None:
        if isinstance(record, Problem) or self.columns is None:
            raise BadRow(record if isinstance(record, Problem) else TOO_LONG)
        if self.options.is_corpus:
            return self.columns.fields(list(record.values()))
        for name, value in record.items():
            if _has_infinity(value):
                raise BadRow(
                    Problem(
                        printable(name), "is infinite, which JSON cannot express; leave it empty, or write it as text"
                    )
                )
        data = _to_json(record)
        if len(data) > MAX_LINE:
            raise BadRow(TOO_LONG)
        return self.columns.fields(list(orjson.loads(data).values()))

    def raw(self, record: ParquetRecord) -> bytes:
        if isinstance(record, Problem):
            return b"{}"
        return orjson.dumps(record, default=repr, option=orjson.OPT_NON_STR_KEYS)[: MAX_LINE + 1]

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _open_file(self, as_dictionaries: list[str] | None = None) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        # With pre_buffer, a whole row group would be held in memory.
        cursor = Cursor(self._spool.fileno()) if self._spool else self.source.cursor()
        return pq.ParquetFile(cursor, pre_buffer=False, buffer_size=BLOCK_BYTES, read_dictionary=as_dictionaries)

    def _read_columns(self) -> TableColumns:
        name = self.source.name
        if not survives(lambda: ParquetLimits(self._open_file(), name, self.source.size)):
            raise UsageError(f"{name}: is a damaged Parquet file (its footer cannot be read); write or copy it again")
        with _translate_errors(name):
            file = self._open_file()
            names = [str(column) for column in file.schema_arrow.names]
            ParquetLimits(file, name, self.source.size)
        return columns_of(names, name, self.options)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turns Arrow's errors into UsageErrors."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{name}: is not a Parquet file, or is damaged ({reason}); write or copy it again") from error


def _to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Truncates nanosecond timestamps, which pandas writes and Python cannot hold, to microseconds."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            cut = batch.column(index).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(index, field.name, cut)
    return batch


def _records(batch: pa.RecordBatch, longest: int) -> Iterable[ParquetRecord]:
    if expanded_size(batch) <= ARROW_BYTES * longest:
        # If one value spoils the whole batch, the loop below finds it.
        with suppress(Exception):
            records: list[ParquetRecord] = batch.to_pylist(maps_as_pydicts="strict")
            return records
    return (_record(batch.slice(index, 1), longest) for index in range(batch.num_rows))


def _record(row: pa.RecordBatch, longest: int) -> ParquetRecord:
    if expanded_size(row) > ARROW_BYTES * longest:
        return too_long(longest)
    record: dict[str, object] = {}
    for name in row.schema.names:
        try:
            record[name] = row.column(name).to_pylist(maps_as_pydicts="strict")[0]
        except Exception as error:  # anything Python cannot hold: text that is not UTF-8, the year 10000
            return Problem(printable(name), f"has a value that cannot be read ({error})")
    return record


def _to_json(record: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(record, default=_json_default, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        raise BadRow(next(_inexpressible(record), Problem("", f"cannot be kept as JSON ({error})"))) from None


def _has_infinity(value: object) -> bool:
    """Whether it contains an infinity, which orjson would write as null, as if the field were absent."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, float) and math.isinf(item):
            return True
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False


def _inexpressible(record: dict[str, object]) -> Iterator[Problem]:
    for name, value in record.items():
        try:
            orjson.dumps(value, default=_json_default, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            value_kind = "bytes" if isinstance(value, bytes) else f"a value ({type(value).__name__})"
            yield Problem(
                printable(name),
                f"contains {value_kind} that JSON cannot express; write the column as text, or leave it out",
            )


def _json_default(value: object) -> str:
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, date | time):  # subclasses; orjson writes the others itself
        return value.isoformat()
    raise TypeError
