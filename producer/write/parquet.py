"""Parquet: one schema for every job; row groups are written as they fill, so that memory stays constant.

`review`, `metadata`, `settings` and `logprobs` are JSON text; each score is a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from contract.policy import LABELS
from db.results.export_rows import StoredOutput
from producer.write.export_lines import COLUMNS, ExportLines

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 8192
GROUP_CHARACTERS = 16 << 20
"""A row group ends at this many characters, however few rows it has."""

_TYPES = (
    dict.fromkeys(("id", "job", "position", "seed"), "int64")
    | dict.fromkeys(("sample_index", "tokens", "threads"), "int32")
    | dict.fromkeys(("mean_logprob", *(f"score_{label}" for label in LABELS)), "float64")
    | dict.fromkeys(("flagged", "redacted"), "bool")
)
_NULLABLE = ("custom_id", "text", "mean_logprob", "review", "logprobs", *(f"score_{label}" for label in LABELS),
                "classifier", "classifier_revision")  # fmt: skip


def schema() -> pa.Schema:
    """The columns of every Parquet export."""
    import pyarrow as pa

    def arrow_type(name: str) -> pa.DataType:
        if name == "flag_reasons":
            return pa.list_(pa.string())
        return pa.type_for_alias(_TYPES.get(name, "string"))

    return pa.schema([pa.field(name, arrow_type(name), nullable=name in _NULLABLE) for name in COLUMNS])


def write_parquet(outputs: Iterable[StoredOutput], lines: ExportLines, file: BinaryIO) -> int:
    """Writes a row for each output. Returns the number of outputs.

    Raises:
        OSError: as `file` does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, columns = 0, schema()
    with (
        pa.PythonFile(_SequentialFile(file), mode="w") as sink,
        pq.ParquetWriter(sink, columns, compression="zstd") as writer,
    ):
        for group in _groups(map(lines.cells, outputs)):
            cells = zip(columns.types, zip(*group, strict=True), strict=True)
            table = pa.Table.from_arrays([pa.array(values, arrow_type) for arrow_type, values in cells], schema=columns)
            writer.write_table(table, row_group_size=len(group))
            rows += len(group)
    return rows


def _groups(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    group: list[list[Any]] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += sum(len(cell) for cell in row if type(cell) is str)
        if len(group) == GROUP_ROWS or characters >= GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


class _SequentialFile:
    """A file that Arrow writes from start to end, counting the position itself, since a pipe has none."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position = file, 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leaves the file open for the caller to close."""
        self.closed = True
