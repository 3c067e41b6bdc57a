"""Compressed prompt files: `.gz` and `.zst`, expanded as a stream within bounds.

Knows bytes only. The compression is recognised by the first bytes, not by the name.
"""

from __future__ import annotations

import gzip
import zlib
from typing import BinaryIO, cast

import zstandard

from contract.errors import UsageError
from producer.source import Cursor, Readable, Source

GZIP, ZSTD = "gz", "zst"
MAGIC = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}

FREE_SIZE = 1 << 30
"""Any file may expand to this many bytes (1 GiB)."""
MOST_RATIO = 1000
"""Beyond `FREE_SIZE`, a file may expand to this many times its size; more counts as a decompression bomb."""

# A zstd block of 4 bytes may expand to 128 KiB (RFC 8878, 3.1.1.2.4): this much input makes 16 MiB at most.
_ZSTD_BITE = 512


def compression(source: Source) -> str | None:
    """How `source` is compressed: `gz`, `zst` or None.

    Raises:
        UsageError: the name promises a compression that the bytes do not have.
    """
    head = source.head(4)
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    promised = source.name.rpartition(".")[2].lower()
    if head and promised in (GZIP, ZSTD) and promised != found:
        raise UsageError(f"{source.name}: is named .{promised} but is not {promised} data; rename it or compress it")
    return found


def expanded(source: Source) -> Readable:
    """The bytes of `source`, uncompressed; reading them raises UsageError if they are damaged."""
    kind = compression(source)
    return Expansion(source, kind) if kind else Plain(source)


class Plain:
    """The bytes as they are; disk errors are translated."""

    def __init__(self, source: Source) -> None:
        self._name, self._raw = source.name, source.cursor()

    def read(self, size: int, /) -> bytes:
        try:
            return self._raw.read(size) or b""
        except OSError as wrong:
            raise UsageError(f"{self._name}: cannot be read ({wrong})") from wrong


class Expansion:
    """The uncompressed bytes of a `.gz` or `.zst` file, never more than its size allows.

    Raises (from `read`):
        UsageError: the data is truncated, damaged, or expands beyond the limit.
    """

    def __init__(self, source: Source, kind: str) -> None:
        self._name, self._kind = source.name, kind
        raw = source.cursor()
        # A Cursor reads like any binary file, which is all that GzipFile needs.
        self._stream = _Zstd(raw) if kind == ZSTD else cast(Readable, gzip.GzipFile(fileobj=cast(BinaryIO, raw)))
        self._left = self._most = max(FREE_SIZE, MOST_RATIO * source.size)

    def read(self, size: int, /) -> bytes:
        try:
            data = self._stream.read(size)
        except EOFError:
            raise UsageError(f"{self._name}: the {self._kind} data is truncated; copy or write it again") from None
        except (OSError, zlib.error, zstandard.ZstdError) as wrong:
            raise UsageError(
                f"{self._name}: the {self._kind} data is damaged ({wrong}); copy or write the file again"
            ) from wrong
        self._left -= len(data)
        if self._left < 0:
            raise UsageError(
                f"{self._name}: expands to over {self._most / 1e9:.1f} GB, {MOST_RATIO} times its size; "
                "if that is intended, decompress it and submit the plain file"
            )
        return data


class _Zstd:
    """A zstd stream of one or many frames.

    zstandard's own stream reader returns a truncated frame without an error, and its decompressor expands all it is
    given; so it gets a little at a time, and the end of each frame is checked here.
    """

    def __init__(self, raw: Cursor) -> None:
        self._raw, self._pending, self._ready = raw, b"", bytearray()
        self._frame = self._next_frame()
        self._inside = False

    @staticmethod
    def _next_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor().decompressobj()

    def read(self, size: int, /) -> bytes:
        while len(self._ready) < size and self._expand_some():
            pass
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _expand_some(self) -> bool:
        if not self._pending:
            self._pending = self._raw.read(1 << 16) or b""
        if not self._pending:
            if self._inside:
                raise EOFError
            return False
        bite, self._pending = self._pending[:_ZSTD_BITE], self._pending[_ZSTD_BITE:]
        self._ready += self._frame.decompress(bite)
        self._inside = not self._frame.eof
        if self._frame.eof:
            self._pending = self._frame.unused_data + self._pending
            self._frame = self._next_frame()
        return True
