"""Parquet files, read batch by batch. A "line" is a row here, counted from 1.

Every row becomes JSON first: dates and times are ISO 8601 text (to the microsecond), decimals and durations
text, NaN counts as absent, infinities and bytes are refused. What a column means is for `producer.read.columns`.
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
from producer.decompression import compression, expanded
from producer.dry_run import survives
from producer.read.columns import Columns
from producer.read.lines import BLOCK, MAX_LINE, TOO_LONG
from producer.read.parquet_limits import Bounds, weight
from producer.read.reader import Form
from producer.read.row_parser import BadRow, shown
from producer.source import Cursor, Source, spooled

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_ROW = 5 * MAX_LINE
"""Bytes of a row in Arrow's form, at most: a number takes 8 or 16 there, and 2 or 4 in JSON. A batch of no more than
that is turned into rows at once, every other one row by row: Python's objects may take 20 times as much."""

ParquetRecord = dict[str, object] | Problem


class Parquet(Form[ParquetRecord]):
    """A Parquet file, plain or compressed as a whole."""

    name, ending = "parquet", ".jsonl"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._spool: BinaryIO | None = None
        self._columns: Columns | None = None
        if not source.size:
            return
        if compression(source):
            self._spool = _spooled(source)
        try:
            self._columns = self._read_columns()
        except BaseException:
            self.close()
            raise
        self.notes = self._columns.notes

    def records(self) -> Iterator[tuple[int, ParquetRecord]]:
        if self._columns is None:
            return
        number = 0
        for batch in self._batches():
            with _translated(self.source.name):
                records = _records(_to_microseconds(batch))
            for number, record in enumerate(records, number + 1):  # noqa: B020
                yield number, record

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with _translated(self.source.name):
            bounds = Bounds(self._open(), self.source.name, self.source.size)
            file, texts = self._open(bounds.lists_of_text), self._open(bounds.texts)
            left = bounds.most
            for group in range(bounds.groups):
                rows = bounds.rows_at_once(group, texts)
                for batch in file.iter_batches(rows, [group], use_threads=False):
                    left -= weight(batch)
                    if left < 0:
                        raise bounds.too_large()
                    yield batch

    def fields(self, record: ParquetRecord) -> dict[str, Any] | None:
        if isinstance(record, Problem) or self._columns is None:
            raise BadRow(record if isinstance(record, Problem) else TOO_LONG)
        for name, value in record.items():
            if _infinite(value):
                raise BadRow(
                    Problem(shown(name), "is infinite, which JSON cannot express; leave it empty, or write it as text")
                )
        data = _to_json(record)
        if len(data) > MAX_LINE:
            raise BadRow(TOO_LONG)
        return self._columns.fields(list(orjson.loads(data).values()))

    def raw(self, record: ParquetRecord) -> bytes:
        if isinstance(record, Problem):
            return b"{}"
        return orjson.dumps(record, default=repr, option=orjson.OPT_NON_STR_KEYS)[: MAX_LINE + 1]

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _open(self, as_dictionaries: list[str] | None = None) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        # pre_buffer off: a whole row group would be held in memory otherwise.
        cursor = Cursor(self._spool.fileno()) if self._spool else self.source.cursor()
        return pq.ParquetFile(cursor, pre_buffer=False, buffer_size=BLOCK, read_dictionary=as_dictionaries)

    def _read_columns(self) -> Columns:
        name = self.source.name
        if not survives(lambda: Bounds(self._open(), name, self.source.size)):
            raise UsageError(f"{name}: is a damaged Parquet file (its footer cannot be read); write or copy it again")
        with _translated(name):
            file = self._open()
            names = [str(column) for column in file.schema_arrow.names]
            Bounds(file, name, self.source.size)
        return Columns(names, name)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Arrow's errors as the user's."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as wrong:
        told = str(wrong).splitlines()[0] if str(wrong) else type(wrong).__name__
        raise UsageError(f"{name}: is not a Parquet file, or is damaged ({told}); write or copy it again") from wrong


def _spooled(source: Source) -> BinaryIO:
    # Parquet is read from its end, so a compressed one has to be expanded first.
    stream = expanded(source)
    return spooled(iter(lambda: stream.read(BLOCK), b""), source.name)


def _to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Nanosecond timestamps, as pandas writes them, have no Python value: cut to microseconds."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            cut = batch.column(place).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, cut)
    return batch


def _records(batch: pa.RecordBatch) -> Iterable[ParquetRecord]:
    if weight(batch) <= MOST_ROW:
        # One value that spoils the whole batch is found below.
        with suppress(Exception):
            found: list[ParquetRecord] = batch.to_pylist(maps_as_pydicts="strict")
            return found
    return (_record(batch.slice(place, 1)) for place in range(batch.num_rows))


def _record(row: pa.RecordBatch) -> ParquetRecord:
    if weight(row) > MOST_ROW:
        return TOO_LONG
    record: dict[str, object] = {}
    for name in row.schema.names:
        try:
            record[name] = row.column(name).to_pylist(maps_as_pydicts="strict")[0]
        except Exception as wrong:  # whatever Python cannot hold: text that is not UTF-8, the year 10000
            return Problem(shown(name), f"has a value that cannot be read ({wrong})")
    return record


def _to_json(record: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(record, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as wrong:
        raise BadRow(next(_unfit(record), Problem("", f"cannot be kept as JSON ({wrong})"))) from None


def _infinite(value: object) -> bool:
    """Whether an infinity stands in it: it would be kept as null, as if nothing had been said."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, float) and math.isinf(inner):
            return True
        if isinstance(inner, dict):
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return False


def _unfit(record: dict[str, object]) -> Iterator[Problem]:
    for name, value in record.items():
        try:
            orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            what = "bytes" if isinstance(value, bytes) else f"a value ({type(value).__name__})"
            yield Problem(
                shown(name), f"contains {what} that JSON cannot express; write the column as text, or leave it out"
            )


def _plain(value: object) -> str:
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, date | time):  # subclasses; orjson writes the plain ones itself
        return value.isoformat()
    raise TypeError
