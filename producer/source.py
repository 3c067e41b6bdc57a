"""The bytes of a prompt file: a regular file, or standard input and pipes spooled to an unnamed file.

Knows bytes only; the formats interpret them.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, cast

from contract.errors import UsageError
from contract.model_kinds.paths import check_utf8

STDIN = "-"


class Readable(Protocol):
    """What the formats read from."""

    def read(self, size: int, /) -> bytes: ...


class Cursor(io.RawIOBase):
    """An independent reading position in an open file, so that several passes do not disturb each other."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        count = os.preadv(self._descriptor, [memoryview(buffer)], self._at)  # type: ignore[arg-type]
        self._at += count
        return count

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        end = os.fstat(self._descriptor).st_size
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: end}[whence]
        return self._at


class Source:
    """The raw bytes of one prompt file, readable as often as needed until it is closed.

    Standard input and pipes can be read only once, so their bytes go to an unnamed temporary file first: only its owner
    can read it, and it is gone when the process is, even if that is killed.

    Raises:
        UsageError: the path cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == STDIN else Path(path).name or path
        check_utf8(self.name)
        try:
            self._file = _spool_stream(_stdin(), self.name) if path == STDIN else _open(path, self.name)
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file; '-' reads standard input") from None
        except IsADirectoryError:
            raise UsageError(f"{path}: is a directory; name a prompt file") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read ({error})") from error
        self._stamp = _stamp(self._file)
        self._digest: str | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self._file.fileno()).st_size

    def cursor(self) -> Cursor:
        """A new pass over the bytes, from the start."""
        return Cursor(self._file.fileno())

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or as many as there are."""
        return os.pread(self._file.fileno(), size, 0)

    def digest(self) -> str:
        """SHA-256 of the bytes as they were at the first call, in hexadecimal."""
        if self._digest is None:
            self._digest = self._hash()
        return self._digest

    def check_stat(self) -> None:
        """Checks cheaply, by size and time, that the file was not written to since it was opened.

        Raises:
            UsageError: it was.
        """
        if _stamp(self._file) != self._stamp:
            raise _changed(self.name)

    def check_contents(self) -> None:
        """Checks that the bytes read since the file was opened are those of `digest`.

        Raises:
            UsageError: the file was written to.
        """
        # On some disks times are too coarse, and the bytes may have been changed and changed back.
        self.check_stat()
        if self._hash() != self.digest():
            raise _changed(self.name)

    def _hash(self) -> str:
        return hashlib.file_digest(io.BufferedReader(self.cursor(), 1 << 20), "sha256").hexdigest()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer


def _open(path: str, name: str) -> BinaryIO:
    file = open(path, "rb")  # noqa: SIM115  (the Source closes it)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return _spool_stream(file, name)


def _spool_stream(stream: BinaryIO, name: str) -> BinaryIO:
    before = _stamp(stream)
    copy = spool(iter(lambda: stream.read(1 << 20), b""), name)
    if _stamp(stream) != before:
        copy.close()
        raise _changed(name)
    return copy


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time, which every write changes; None for anything but a regular file."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # bytes in memory
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _changed(name: str) -> UsageError:
    return UsageError(
        f"{name}: was changed while it was being read, so nothing was stored; "
        "give it once nothing writes to it any more, or give a copy"
    )


def spool(blocks: Iterable[bytes], name: str) -> BinaryIO:
    """Writes the blocks to an unnamed temporary file, which the caller closes.

    Raises:
        UsageError: the file cannot be created or written.
    """
    with _translate_errors(name):
        file = cast(BinaryIO, tempfile.TemporaryFile(prefix="inkmill-"))  # noqa: SIM115
    try:
        for block in blocks:
            with _translate_errors(name):
                file.write(block)
                file.flush()
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{name}: needs a temporary copy, which cannot be written ({error.strerror or error}); "
            "set TMPDIR to a writable folder with free space, or name an uncompressed file"
        ) from error
