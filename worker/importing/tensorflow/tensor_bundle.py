"""A checkpoint of TensorFlow: an index of tensors, and one file or several with their numbers.

The messages are those of tensorflow/core/protobuf/tensor_bundle.proto. Their use is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from contract.errors import UsageError
from worker.importing.tensorflow.damage import Damaged, check
from worker.importing.tensorflow.protobuf import fields
from worker.importing.tensorflow.table import read_table

BIG_ENDIAN = 1
BFLOAT16 = 14
DTYPES = {1: "<f4", 2: "<f8", BFLOAT16: "<u2", 19: "<f2"}
"""By tensorflow/core/framework/types.proto: those that weights have."""
COPY_AGAIN = "copy the checkpoint once more"
HEADER = b""  # the key of the record on the whole checkpoint


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0  # bytes
    checksum: int = 0
    is_partitioned: bool = False  # its parts are entries of their own


class TensorBundle:
    """The tensors by name. Files are opened when a tensor is read."""

    def __init__(self, prefix: Path) -> None:
        """
        Args:
            prefix: what the names of its files begin with: `.index` follows, and `.data-00000-of-00001`.

        Raises:
            UsageError: a file of it is missing or too short, or the index is damaged or none.
        """
        self._prefix, self._index = prefix, prefix.with_name(f"{prefix.name}.index")
        self._shards, self._entries = 0, dict[str, Entry]()
        with _named(self._index):
            for key, value in read_table(self._index.read_bytes()):
                self._note(key, value)
        if not self._shards:
            raise UsageError(f"{self._index}: lacks the record that begins an index; {COPY_AGAIN}")
        self._check_sizes()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    @cached_property
    def paths(self) -> list[Path]:
        """All its files."""
        return [self._index, *map(self._shard, range(self._shards))]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def read(self, name: str) -> np.ndarray:
        """A tensor, float32.

        Raises:
            UsageError: it is in pieces, no weights, or damaged; the message names its file.
        """
        entry = self._entries[name]
        if entry.is_partitioned:
            raise UsageError(
                f"{self._index}: {name} is a partitioned tensor, stored in pieces, and such checkpoints are not read "
                "here; load it in TensorFlow, and save it without a partitioner"
            )
        if entry.dtype not in DTYPES:
            raise UsageError(
                f"{self._index}: {name} has numbers of a kind that weights do not have (type {entry.dtype}); give a "
                "checkpoint of GPT-2"
            )
        with _named(self._shard(entry.shard)):
            return self._numbers(name, entry)

    def _check_sizes(self) -> None:
        """Of all tensors, also those that nobody reads: who lost a part of a file may have lost more."""
        sizes = {path: _size(path) for path in self.paths[1:]}
        for name, entry in self._entries.items():
            path = self._shard(entry.shard)
            if not entry.is_partitioned and sizes.get(path, 0) < entry.offset + entry.size:
                raise UsageError(f"{path}: is damaged: it ends before {name} does; {COPY_AGAIN}")

    def _numbers(self, name: str, entry: Entry) -> np.ndarray:
        path, kind = self._shard(entry.shard), np.dtype(DTYPES[entry.dtype])
        if entry.size != prod(entry.shape) * kind.itemsize:
            raise Damaged(f"has {entry.size:,} bytes for {name}, whose shape is {list(entry.shape)}")
        with path.open("rb") as file:
            file.seek(entry.offset)
            content = file.read(entry.size)
        check(content, entry.checksum, name)
        numbers = np.frombuffer(content, kind)
        if entry.dtype == BFLOAT16:  # the upper half of a float32
            numbers = (numbers.astype("<u4") << 16).view("<f4")
        return numbers.astype(np.float32).reshape(entry.shape)

    def _note(self, key: bytes, value: bytes) -> None:
        """Takes note of a record. The parts of partitioned tensors have keys that are no names, and begin so."""
        if key == HEADER:
            self._shards = _shards(value)
        elif not key.startswith(b"\0"):
            self._entries[key.decode("utf-8", "replace")] = _entry(value)

    def _shard(self, number: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.data-{number:05}-of-{self._shards:05}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Says which file is damaged or cannot be read, of what is done with it in a block."""
    try:
        yield
    except Damaged as error:
        raise UsageError(f"{path}: {error}; {COPY_AGAIN}") from error
    except FileNotFoundError as error:
        raise UsageError(f"{path}: is missing; {COPY_AGAIN}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); {COPY_AGAIN}") from error


def _size(path: Path) -> int:
    with _named(path):
        return path.stat().st_size


def _shards(header: bytes) -> int:
    """How many files with numbers there are.

    Raises:
        Damaged: their numbers are not read here.
    """
    told = _numbers_of(header)
    if told.get(2) == BIG_ENDIAN:
        raise Damaged("was written on a machine with big-endian numbers, which are not read here")
    return told.get(1, 1)


def _entry(message: bytes) -> Entry:
    told = _numbers_of(message)
    shape = [value for number, value in fields(message) if number == 2 and isinstance(value, bytes)]
    return Entry(
        dtype=told.get(1, 0),
        shape=tuple(_sizes(shape[0])) if shape else (),
        shard=told.get(3, 0),
        offset=told.get(4, 0),
        size=told.get(5, 0),
        checksum=told.get(6, 0),
        is_partitioned=any(number == 7 for number, _ in fields(message)),
    )


def _sizes(shape: bytes) -> Iterator[int]:
    """The dimensions of a TensorShapeProto: messages, in which a size of 0 is left out."""
    for number, dimension in fields(shape):
        if number == 2 and isinstance(dimension, bytes):
            yield _numbers_of(dimension).get(1, 0)


def _numbers_of(message: bytes) -> dict[int, int]:
    """Those fields of a message that are numbers."""
    return {number: value for number, value in fields(message) if isinstance(value, int)}
