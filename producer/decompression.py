"""Compressed prompt files: `.gz` and `.zst`, decompressed as a stream, up to a limit.

Knows bytes only. The compression is recognised by the first bytes, not by the name.
"""

from __future__ import annotations

import gzip
import zlib
from typing import BinaryIO, cast

import zstandard

from contract.errors import UsageError
from producer.source import Cursor, Readable, Source, spool

GZIP, ZSTD = "gz", "zst"
MAGIC = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}

ALWAYS_ALLOWED_BYTES = 1 << 30
"""Any file may expand to this many bytes (1 GiB), however small it is."""
SPOOL_BYTES = 1 << 16
MAX_RATIO = 1000
"""A file may expand to this many times its size; more counts as a decompression bomb."""

# A zstd block of 4 bytes may expand to 128 KiB (RFC 8878, 3.1.1.2.4): this much input, to 16 MiB at most.
_ZSTD_CHUNK = 512


def compression(source: Source) -> str | None:
    """How `source` is compressed: `gz`, `zst` or None.

    Raises:
        UsageError: the file is named .gz or .zst, but its bytes are something else.
    """
    head = source.head(4)
    actual = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    named = source.name.rpartition(".")[2].lower()
    if head and named in (GZIP, ZSTD) and named != actual:
        raise UsageError(f"{source.name}: is named .{named} but is not {named} data; rename it or compress it")
    return actual


def decompressed(source: Source) -> Readable:
    """The bytes of `source`, decompressed.

    Raises:
        UsageError: as `compression` does; reading raises it too if the data is damaged or expands beyond the limit.
    """
    kind = compression(source)
    return DecompressedFile(source, kind) if kind else PlainFile(source)


def spool_decompressed(source: Source) -> BinaryIO:
    """All of `source`, decompressed into a temporary file: for formats that are read from their end.

    Raises:
        UsageError: as `decompressed`.
    """
    stream = decompressed(source)
    return spool(iter(lambda: stream.read(SPOOL_BYTES), b""), source.name)


class PlainFile:
    """The bytes as they are; OSErrors become UsageErrors."""

    def __init__(self, source: Source) -> None:
        self._name, self._raw = source.name, source.cursor()

    def read(self, size: int, /) -> bytes:
        try:
            return self._raw.read(size) or b""
        except OSError as error:
            raise UsageError(f"{self._name}: cannot be read ({error})") from error


class DecompressedFile:
    """The uncompressed bytes of a `.gz` or `.zst` file, never more than its size allows.

    Raises (from `read`):
        UsageError: the data is truncated, damaged, or expands beyond the limit.
    """

    def __init__(self, source: Source, kind: str) -> None:
        self._name, self._kind = source.name, kind
        raw = source.cursor()
        # A Cursor reads like any binary file, which is all that GzipFile needs.
        self._stream = _ZstdStream(raw) if kind == ZSTD else cast(Readable, gzip.GzipFile(fileobj=cast(BinaryIO, raw)))
        self._bytes_left = self._max_bytes = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * source.size)

    def read(self, size: int, /) -> bytes:
        try:
            data = self._stream.read(size)
        except EOFError:
            raise UsageError(f"{self._name}: the {self._kind} data is truncated; copy or write it again") from None
        except (OSError, zlib.error, zstandard.ZstdError) as error:
            raise UsageError(
                f"{self._name}: the {self._kind} data is damaged ({error}); copy or write the file again"
            ) from error
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise UsageError(
                f"{self._name}: expands to over {self._max_bytes / 1e9:.1f} GB, {MAX_RATIO} times its size; "
                "if that is intended, decompress it and submit the plain file"
            )
        return data


class _ZstdStream:
    """A zstd stream of one or many frames.

    zstandard's own stream reader returns a truncated frame without an error, and its decompressor decompresses all the
    input it gets at once; so it gets a little at a time, and the end of each frame is checked here.
    """

    def __init__(self, raw: Cursor) -> None:
        self._raw, self._pending, self._ready = raw, b"", bytearray()
        self._frame = self._next_frame()
        self._inside_frame = False

    @staticmethod
    def _next_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor().decompressobj()

    def read(self, size: int, /) -> bytes:
        while len(self._ready) < size and self._decompress_some():
            pass
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _decompress_some(self) -> bool:
        if not self._pending:
            self._pending = self._raw.read(1 << 16) or b""
        if not self._pending:
            if self._inside_frame:
                raise EOFError
            return False
        chunk, self._pending = self._pending[:_ZSTD_CHUNK], self._pending[_ZSTD_CHUNK:]
        self._ready += self._frame.decompress(chunk)
        self._inside_frame = not self._frame.eof
        if self._frame.eof:
            self._pending = self._frame.unused_data + self._pending
            self._frame = self._next_frame()
        return True
