"""What is wrong with the bytes of a file, and the checksum that tells."""

from __future__ import annotations

from typing import Any

MASK_DELTA = 0xA282EAD8


class Damaged(ValueError):
    """Bytes that cannot be what their writer wrote. The message completes "the file"."""


def check(content: Any, masked: int, what: str) -> None:
    """Compares bytes with their CRC-32C, which LevelDB and TensorFlow store masked.

    Source: https://github.com/google/leveldb/blob/main/util/crc32c.h

    Args:
        content: whatever has the buffer protocol.

    Raises:
        Damaged: they differ.
    """
    import google_crc32c

    rotated = (masked - MASK_DELTA) % 2**32
    if google_crc32c.value(content) != (rotated >> 17 | rotated << 15) % 2**32:
        raise Damaged(f"is damaged: the checksum of {what} does not match")
