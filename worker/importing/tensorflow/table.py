"""LevelDB's sorted tables, in which the index of a checkpoint is stored: keys and values, in blocks with checksums.

Source: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow

from worker.importing.tensorflow.damage import Damaged, check
from worker.importing.tensorflow.protobuf import varint

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5  # of a block: the kind of compression, and a checksum
UNCOMPRESSED, SNAPPY = 0, 1
SNAPPY_GROWTH = 64
"""Snappy makes nothing smaller than that: what claims to be longer is no snappy."""


def read_table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a whole table, in their order.

    Raises:
        Damaged: it is none, or its checksums say that it was changed.
    """
    footer = content[-FOOTER:]
    if len(footer) < FOOTER or int.from_bytes(footer[-8:], "little") != MAGIC:
        raise Damaged("is no index of a TensorFlow checkpoint, or its end is missing")
    _, _, place = _handle(footer, 0)
    start, size, _ = _handle(footer, place)
    for _, handle in _entries(_block(content, start, size)):
        start, size, _ = _handle(handle, 0)
        yield from _entries(_block(content, start, size))


def _handle(content: bytes, place: int) -> tuple[int, int, int]:
    """Where a block is, and how long; then where the next byte is."""
    start, place = varint(content, place)
    size, place = varint(content, place)
    return start, size, place


def _block(content: bytes, start: int, size: int) -> bytes:
    whole = content[start : start + size + TRAILER]
    if len(whole) < size + TRAILER:
        raise Damaged("is damaged: a block of it lies behind its end")
    check(whole[: size + 1], int.from_bytes(whole[size + 1 :], "little"), "a block")
    return _unpacked(whole[:size], whole[size])


def _unpacked(block: bytes, compression: int) -> bytes:
    if compression == UNCOMPRESSED:
        return block
    if compression != SNAPPY:
        raise Damaged(f"is compressed in a way that is not known here (kind {compression})")
    length, _ = varint(block, 0)
    if length > len(block) * SNAPPY_GROWTH:
        raise Damaged("is damaged: a block of it cannot be unpacked")
    try:
        return bytes(pyarrow.decompress(block, decompressed_size=length, codec="snappy", asbytes=True))
    except (OSError, ValueError) as error:
        raise Damaged("is damaged: a block of it cannot be unpacked") from error


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each key is stored as what it has beyond the part that it shares with the key before it."""
    restarts = int.from_bytes(block[-4:], "little")
    end, place, key = len(block) - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise Damaged("is damaged: a block of it breaks off")
    while place < end:
        shared, place = varint(block, place)
        own, place = varint(block, place)
        length, place = varint(block, place)
        if shared > len(key) or place + own + length > end:
            raise Damaged("is damaged: an entry of it breaks off")
        key = key[:shared] + block[place : place + own]
        place += own + length
        yield key, block[place - length : place]
