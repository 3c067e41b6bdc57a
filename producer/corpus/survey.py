"""What stands in a corpus, a row for each document in the order of reading: enough to decide what becomes of it.

The rows are on disk, since a corpus may have more documents than fit into memory.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from producer.corpus.documents.pieces import Outline

ROW = np.dtype([("low", "<u8"), ("high", "<u8"), ("characters", "<i8"), ("file", "<u4"), ("plain", "u1")])
"""The two halves of a document's key, its length (0 = it is empty), its file, and whether all of it is learned."""
_BEHIND_KEY = struct.Struct("<qIB")
ROWS_AT_ONCE = 1 << 16


class Survey:
    """The rows of a corpus. They are in an unnamed file, which is gone with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = _unnamed(folder)
        self.count = 0

    def add(self, outline: Outline, file: int) -> None:
        """The next document."""
        characters = 0 if outline.empty else outline.characters
        self._file.write(outline.key + _BEHIND_KEY.pack(characters, file, outline.plain))
        self.count += 1

    def rows(self) -> NDArray[Any]:
        """All of them, memory-mapped."""
        self._file.flush()
        return np.memmap(self._file, ROW, mode="r") if self.count else np.empty(0, ROW)

    def new_column(self) -> NDArray[np.uint8]:
        """A byte for each document, all 0, on disk as well."""
        if not self.count:
            return np.zeros(0, np.uint8)
        file = _unnamed(self._folder)
        file.truncate(self.count)
        return np.memmap(file, np.uint8, mode="r+")


def chunks(rows: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Some rows after the others, in memory."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        yield here, np.array(rows[here])


def _unnamed(folder: Path) -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
