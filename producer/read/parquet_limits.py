"""How much a Parquet file may make of itself, asked before it is read and while it is.

A dictionary and run lengths make gigabytes out of a few hundred bytes, and one list may have more elements than memory
has. What a footer says of itself is believed; what it does not say is measured. Rows are nobody's business here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import UsageError
from producer.decompression import FREE_SIZE, MOST_RATIO
from producer.read.lines import MAX_LINE
from producer.read.row_parser import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 256
"""Rows at once, where they are of the usual kind."""
MOST_BYTES = ROWS * MAX_LINE
"""Of the rows that are read at once: as much as `ROWS` of the longest that are allowed."""
MOST_ELEMENTS = 1 << 25
"""Of one column's lists in one row group: their lengths and places alone take some 10 bytes each."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as the footer describes it. `path` runs through structs and lists: `tags.list.element`."""

    place: int
    path: str
    repeated: bool
    text: bool  # of any length: the only kind whose values may be longer than what stands in the file


class Bounds:
    """The limits of one file, from its footer.

    Raises:
        UsageError: it is larger than any file that is meant.
    """

    def __init__(self, file: pq.ParquetFile, name: str, size: int) -> None:
        self.most = max(FREE_SIZE, MOST_RATIO * size)
        self._name, self._metadata = name, file.metadata
        self._columns = [_column(file.schema.column(place), place) for place in range(len(file.schema))]
        for place in range(len(self._columns)):
            self._check_width(file.schema.column(place))
        groups = [self._metadata.row_group(number) for number in range(self.groups)]
        if sum(group.total_byte_size for group in groups) > self.most:
            raise self.too_large()
        for group in groups:
            self._check_lists(group)

    @property
    def groups(self) -> int:
        """How many row groups there are."""
        return int(self._metadata.num_row_groups)

    @property
    def lists_of_text(self) -> list[str]:
        """Columns to be read as dictionaries, so that a text that stands there a million times is held once."""
        return [column.path for column in self._columns if column.repeated and column.text]

    def rows_at_once(self, group: int, file: pq.ParquetFile) -> int:
        """How many rows of a row group fit into `MOST_BYTES`, however often its texts repeat.

        Args:
            file: the same file, its columns of text read as dictionaries (see `texts`).
        """
        chunks = [(column, self._metadata.row_group(group).column(column.place)) for column in self._texts()]
        if ROWS * sum(chunk.total_uncompressed_size for _, chunk in chunks) <= MOST_BYTES:
            return ROWS
        widest = sum(chunk.total_uncompressed_size for _, chunk in chunks if "DELTA_BYTE_ARRAY" in chunk.encodings)
        dictionaries = [column.path for column, chunk in chunks if chunk.has_dictionary_page]
        if dictionaries:
            first = next(file.iter_batches(1, [group], dictionaries, use_threads=False), None)
            widest += sum(map(_longest, first.columns)) if first is not None else 0
        return max(1, min(ROWS, MOST_BYTES // max(int(widest), 1)))

    @property
    def texts(self) -> list[str]:
        """The columns of text outside lists."""
        return [column.path for column in self._texts()]

    def too_large(self) -> UsageError:
        """What is said of a file that makes more of itself than it may."""
        return UsageError(
            f"{self._name}: expands to over {self.most / 1e9:.1f} GB, far beyond its size; "
            "if that is intended, split it, or write it as JSON lines"
        )

    def _texts(self) -> Iterator[_Column]:
        return (column for column in self._columns if column.text and not column.repeated)

    def _check_width(self, column: Any) -> None:
        if column.length > MAX_LINE:
            raise UsageError(
                f"{self._name}: column {shown(column.path)!r} has values of {column.length:,} bytes; leave it out"
            )

    def _check_lists(self, group: Any) -> None:
        for column in self._columns:
            chunk = group.column(column.place)
            grows = column.text and "DELTA_BYTE_ARRAY" in chunk.encodings
            too_much = grows and chunk.num_values * chunk.total_uncompressed_size > self.most
            if column.repeated and (chunk.num_values > MOST_ELEMENTS or too_much):
                raise UsageError(
                    f"{self._name}: column {shown(column.path)!r} has {chunk.num_values:,} list elements in one row "
                    "group; leave it out, or write smaller row groups"
                )


def weight(array: Any) -> int:
    """Bytes, about, that an Arrow array or batch takes once every value in it stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = getattr(array, "type", None)
    if kind is None or pa.types.is_struct(kind):
        return sum(map(weight, array.columns if kind is None else array.flatten()))
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary) if _of_text(kind.value_type) else None
        repeated = pc.sum(lengths.take(array.indices)).as_py() if lengths is not None else None
        return 8 * len(array) + (repeated or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return 8 * len(array) + weight(_elements(array))
    if pa.types.is_fixed_size_list(kind):
        return weight(array.flatten())
    return max(int(array.nbytes), 8 * len(array))


def _elements(array: Any) -> Any:
    """What stands in the lists of `array`, and not in those before or behind it in the same buffers."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return array.values.slice(first, last - first)


def _longest(array: Any) -> int:
    """Bytes of the longest text in the dictionaries of `array`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(array.type):
        return sum(map(_longest, array.flatten()))
    if not pa.types.is_dictionary(array.type):
        return 0
    return pc.max(pc.binary_length(array.dictionary)).as_py() or 0


def _of_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _column(column: Any, place: int) -> _Column:
    return _Column(place, column.path, column.max_repetition_level > 0, column.physical_type == "BYTE_ARRAY")
