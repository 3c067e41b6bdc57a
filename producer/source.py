"""Where a prompt file's bytes come from: a regular file, or standard input and pipes spooled to an unnamed file.

Knows bytes only; what they mean is for the forms to say.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, cast

from contract.errors import UsageError

STDIN = "-"


class Readable(Protocol):
    """What the forms read from."""

    def read(self, size: int, /) -> bytes: ...


class Cursor(io.RawIOBase):
    """A reading position of its own over an open file, so that several passes never disturb each other."""

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

    Standard input and pipes can be read once only, so their bytes go to a temporary file first: without a
    name, readable by its owner alone, and gone with the process even where that is killed.

    Raises:
        UsageError: where the path cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == STDIN else Path(path).name or path
        try:
            self._file = _spool(_stdin()) if path == STDIN else _open(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no such file; '-' reads standard input") from None
        except IsADirectoryError:
            raise UsageError(f"{path}: is a directory; name a prompt file in it") from None
        except (OSError, ValueError) as wrong:
            raise UsageError(f"{path}: cannot be read ({wrong})") from wrong

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._file.fileno()).st_size

    def cursor(self) -> Cursor:
        """A fresh pass over the bytes, from the first one on."""
        return Cursor(self._file.fileno())

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or as many as there are."""
        return os.pread(self._file.fileno(), size, 0)

    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
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


def _open(path: str) -> BinaryIO:
    file = open(path, "rb")  # noqa: SIM115  (the Source closes it)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return _spool(file)


def _spool(stream: BinaryIO) -> BinaryIO:
    spool = cast(BinaryIO, tempfile.TemporaryFile(prefix="inkmill-"))  # noqa: SIM115  (the Source closes it)
    try:
        shutil.copyfileobj(stream, spool, 1 << 20)
        spool.flush()
    except BaseException:
        spool.close()
        raise
    return spool
