"""How far a Parquet file may expand: checked before it is read, and while it is.

With a dictionary and run lengths a few hundred bytes can become gigabytes, and one list can have more elements than fit
into memory. Sizes stated in the footer are believed; the others are measured. Knows nothing of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import UsageError
from producer.decompression import ALWAYS_ALLOWED_BYTES, MAX_RATIO
from producer.read.lines import MAX_LINE
from producer.read.row_parser import printable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 256
"""Rows in a batch, if they are of usual size."""
MAX_BATCH_BYTES = BATCH_ROWS * MAX_LINE
"""Bytes in a batch: room for `BATCH_ROWS` rows of the longest allowed."""
MAX_LIST_ELEMENTS = 1 << 25
"""Elements in the lists of one column in one row group: their lengths and offsets alone take some 10 bytes each."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as the footer describes it. `path` runs through structs and lists: `tags.list.element`."""

    index: int
    path: str
    repeated: bool
    text: bool  # of any length: the only type whose values may take more bytes than the file does


class ParquetLimits:
    """The limits of one file, according to its footer.

    Raises:
        UsageError: the footer states more than the limits allow.
    """

    def __init__(self, file: pq.ParquetFile, name: str, size: int) -> None:
        self.max_bytes = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * size)
        self._name, self._metadata = name, file.metadata
        self._columns = [_column(file.schema.column(index), index) for index in range(len(file.schema))]
        for index in range(len(self._columns)):
            self._check_width(file.schema.column(index))
        row_groups = [self._metadata.row_group(number) for number in range(self.row_group_count)]
        if sum(group.total_byte_size for group in row_groups) > self.max_bytes:
            raise self.too_large()
        for group in row_groups:
            self._check_lists(group)

    @property
    def row_group_count(self) -> int:
        return int(self._metadata.num_row_groups)

    @property
    def text_list_columns(self) -> list[str]:
        """Columns to read as dictionaries, so that a text repeated a million times is held once."""
        return [column.path for column in self._columns if column.repeated and column.text]

    def batch_rows(self, row_group: int, file: pq.ParquetFile) -> int:
        """How many rows of a row group fit into `MAX_BATCH_BYTES`, however often its texts are repeated.

        Args:
            file: the same file, opened with `text_columns` as dictionaries.
        """
        chunks = [(column, self._metadata.row_group(row_group).column(column.index)) for column in self._text_columns()]
        if BATCH_ROWS * sum(chunk.total_uncompressed_size for _, chunk in chunks) <= MAX_BATCH_BYTES:
            return BATCH_ROWS
        widest = sum(chunk.total_uncompressed_size for _, chunk in chunks if "DELTA_BYTE_ARRAY" in chunk.encodings)
        dictionaries = [column.path for column, chunk in chunks if chunk.has_dictionary_page]
        if dictionaries:
            first = next(file.iter_batches(1, [row_group], dictionaries, use_threads=False), None)
            widest += sum(map(_longest_text_bytes, first.columns)) if first is not None else 0
        return max(1, min(BATCH_ROWS, MAX_BATCH_BYTES // max(int(widest), 1)))

    @property
    def text_columns(self) -> list[str]:
        """The text columns that are not in lists."""
        return [column.path for column in self._text_columns()]

    def too_large(self) -> UsageError:
        """The error for a file that expands beyond the limit."""
        return UsageError(
            f"{self._name}: expands to over {self.max_bytes / 1e9:.1f} GB, far beyond its size; "
            "if that is intended, split it, or write it as JSON lines"
        )

    def _text_columns(self) -> Iterator[_Column]:
        return (column for column in self._columns if column.text and not column.repeated)

    def _check_width(self, column: Any) -> None:
        if column.length > MAX_LINE:
            raise UsageError(
                f"{self._name}: column {printable(column.path)!r} has values of {column.length:,} bytes; leave it out"
            )

    def _check_lists(self, group: Any) -> None:
        for column in self._columns:
            chunk = group.column(column.index)
            may_grow = column.text and "DELTA_BYTE_ARRAY" in chunk.encodings
            over_limit = may_grow and chunk.num_values * chunk.total_uncompressed_size > self.max_bytes
            if column.repeated and (chunk.num_values > MAX_LIST_ELEMENTS or over_limit):
                raise UsageError(
                    f"{self._name}: column {printable(column.path)!r} has {chunk.num_values:,} list elements "
                    "in one row group; leave it out, or write smaller row groups"
                )


def expanded_size(array: Any) -> int:
    """About how many bytes an Arrow array or batch takes once every repeated value is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrow_type = getattr(array, "type", None)
    if arrow_type is None or pa.types.is_struct(arrow_type):
        return sum(map(expanded_size, array.columns if arrow_type is None else array.flatten()))
    if pa.types.is_dictionary(arrow_type):
        lengths = pc.binary_length(array.dictionary) if _is_text(arrow_type.value_type) else None
        repeated = pc.sum(lengths.take(array.indices)).as_py() if lengths is not None else None
        return 8 * len(array) + (repeated or 0)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_map(arrow_type):
        return 8 * len(array) + expanded_size(_elements(array))
    if pa.types.is_fixed_size_list(arrow_type):
        return expanded_size(array.flatten())
    return max(int(array.nbytes), 8 * len(array))


def _elements(array: Any) -> Any:
    """The elements of the lists in `array`, without those before and after it in the same buffers."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return array.values.slice(first, last - first)


def _longest_text_bytes(array: Any) -> int:
    """Bytes of the longest text in the dictionaries of `array`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(array.type):
        return sum(map(_longest_text_bytes, array.flatten()))
    if not pa.types.is_dictionary(array.type):
        return 0
    return pc.max(pc.binary_length(array.dictionary)).as_py() or 0


def _is_text(arrow_type: pa.DataType) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(arrow_type) for test in tests)


def _column(column: Any, index: int) -> _Column:
    return _Column(index, column.path, column.max_repetition_level > 0, column.physical_type == "BYTE_ARRAY")
