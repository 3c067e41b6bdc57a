"""Parquet: row groups are written as they fill, so that memory stays constant.

There is one schema for every job, in which `deciding_sentences`, `review`, `metadata`, `settings`, `messages`, `fitted`
and `logprobs` are JSON text and each score is a column. Only where each key of the metadata is a column, the schema is
the job's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from contract.policy import LABELS
from db.results.export_rows import StoredOutput
from producer.write.metadata_columns import MetadataColumn
from producer.write.table import COLUMNS, Table

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 8192
GROUP_CHARACTERS = 16 << 20
"""A row group ends at this many characters, however few rows it has."""

_TYPES = (
    dict.fromkeys(("id", "job", "position", "seed"), "int64")
    | dict.fromkeys(("sample_index", "tokens", "threads", "copied_tokens"), "int32")
    | dict.fromkeys(("mean_logprob", *(f"score_{label}" for label in LABELS)), "float64")
    | dict.fromkeys(("flagged", "redacted"), "bool")
)
_NULLABLE = ("custom_id", "text", "mean_logprob", *(f"score_{label}" for label in LABELS), "classifier",
             "classifier_revision", "score_by", "deciding_sentences", "flag_reasons", "review", "metadata",
             "messages", "fitted", "copied_tokens", "logprobs")  # fmt: skip


def schema(metadata: Sequence[MetadataColumn] | None = None) -> pa.Schema:
    """The columns of a Parquet export, with those of its metadata if it has some."""
    import pyarrow as pa

    fields = [pa.field(name, _arrow_type(name), nullable=name in _NULLABLE) for name in COLUMNS]
    if metadata is not None:
        place = COLUMNS.index("metadata")
        own = [pa.field(column.name, pa.type_for_alias(column.type)) for column in metadata]
        fields[place : place + 1] = own
    return pa.schema(fields)


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.string()) if name == "flag_reasons" else pa.type_for_alias(_TYPES.get(name, "string"))


def write_parquet(outputs: Iterable[StoredOutput], table: Table, file: BinaryIO) -> int:
    """Writes a row for each output. Returns the number of outputs.

    Raises:
        OSError: as `file` does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, columns = 0, schema(table.metadata)
    with (
        pa.PythonFile(_SequentialFile(file), mode="w") as sink,
        pq.ParquetWriter(sink, columns, compression="zstd") as writer,
    ):
        for group in _groups(map(table.cells, outputs)):
            cells = zip(columns.types, zip(*group, strict=True), strict=True)
            arrays = [pa.array(values, arrow_type) for arrow_type, values in cells]
            writer.write_table(pa.Table.from_arrays(arrays, schema=columns), row_group_size=len(group))
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
