"""Where an export's bytes go: a file that appears complete or not at all, or standard output.

Knows bytes only. A file is written under a temporary name in its folder, synced to disk, and then renamed.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import gzip
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from common.wording import visible
from contract.errors import InkmillError, UsageError

TEMPORARY_NAME = re.compile(r"\.inkmill-[0-9a-f]{32}\.tmp")
"""The name of a file that is still being written."""
BUFFER_BYTES = 1 << 20
MIN_LEFTOVER_AGE_SECONDS = 60
"""An unfinished file younger than this may not be locked by its process yet."""
FREE_SPACE_ADVICE = "nothing was lost: free some space or name another place, and export again"
STDOUT_CLOSED = "standard output is closed; name a file with -o FILE, or leave it open"
DISK_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def check_target(path: Path) -> None:
    """Checks, before any work begins, that a file can be created at `path`.

    Raises:
        UsageError: its folder is missing or it names something other than a file.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(f"-o {path}: there is no folder {path.parent}; create it, or name another one")
        file_status = path.stat().st_mode if path.exists() else None  # follows links, which may lead to a device
        with suppress(FileNotFoundError):
            path.lstat()
        if _is_special_folder(path.parent.resolve()):
            raise UsageError(f"-o {path}: {path.parent} is not for regular files; name a file elsewhere")
    except (OSError, ValueError) as error:  # a name that is too long, a folder without permission
        raise UsageError(f"-o {path}: cannot be written ({_reason(error)}); name another file") from error
    if file_status is not None and stat.S_ISDIR(file_status):
        raise UsageError(f"-o {path}: is a folder; name a file in it")
    if file_status is not None and not stat.S_ISREG(file_status):
        raise UsageError(f"-o {path}: is not a regular file; use '-o -' and redirect standard output there")


def _is_special_folder(folder: Path) -> bool:
    """Whether it is where devices are: a mistyped device name must not become a file. /dev/shm is meant for files."""
    special = any(folder.is_relative_to(special_folder) for special_folder in ("/dev", "/proc", "/sys"))
    return special and not folder.is_relative_to("/dev/shm")  # noqa: S108


class _HashingFile(io.FileIO):
    """A file that computes the SHA-256 of what is written to it, sequentially from the start."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self.digest = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self.digest.update(memoryview(data).cast("B")[:count])
        return count


@contextmanager
def new_file(path: Path, before_rename: Callable[[str], object] = lambda digest: None) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the block succeeds; otherwise it is removed, and an older file stays.

    Only its owner can read it. If `path` is a symbolic link, the file replaces the link, and the link's target is not
    touched. A killed process leaves a hidden `.inkmill-….tmp`, which the next export to that folder removes after a
    minute.

    Args:
        before_rename: called with the SHA-256 of the file, in hexadecimal; if it raises, there is no rename.

    Raises:
        UsageError: the file cannot be created in that folder.
        InkmillError: the disk is full, or fails.
    """
    with _translate_errors(str(path), InkmillError, FREE_SPACE_ADVICE):
        _remove_leftovers(path.parent)
        descriptor, temporary = _create_temporary(path)
        try:
            with _HashingFile(descriptor) as raw, io.BufferedWriter(raw, BUFFER_BYTES) as file:
                yield cast(BinaryIO, file)
                file.flush()
                os.fsync(descriptor)
                before_rename(raw.digest.hexdigest())
                os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _create_temporary(path: Path) -> tuple[int, Path]:
    temporary = path.with_name(f".inkmill-{secrets.token_hex(16)}.tmp")
    with _translate_errors(f"-o {path}", UsageError, "name a file where you may write"):
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)  # O_EXCL: never through a link
    with suppress(OSError):  # some network disks have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor, temporary


def _remove_leftovers(folder: Path) -> None:
    """Removes unfinished files that killed processes left behind: ours, and no longer locked."""
    for leftover in (file for file in folder.glob(".inkmill-*") if TEMPORARY_NAME.fullmatch(file.name)):
        with suppress(OSError):
            descriptor = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_leftover(os.fstat(descriptor)):
                    leftover.unlink()
            finally:
                os.close(descriptor)


def _is_leftover(found: os.stat_result) -> bool:
    ours = found.st_uid == os.geteuid() and found.st_mode == stat.S_IFREG | 0o600 and found.st_nlink == 1
    return ours and time.time() - found.st_mtime > MIN_LEFTOVER_AGE_SECONDS


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output as bytes. If the reader closes it early, that is a BrokenPipeError, as usual. A terminal gets
    control characters spelled out; a file and a pipe get the very bytes.

    Raises:
        UsageError: it is closed.
        InkmillError: its destination is full, or fails.
    """
    if sys.stdout is None:
        raise UsageError(STDOUT_CLOSED)
    with _translate_errors("standard output", InkmillError, "the output is incomplete"):
        sys.stdout.flush()
        yield cast(BinaryIO, _TextOnly(sys.stdout.buffer)) if sys.stdout.isatty() else sys.stdout.buffer
        sys.stdout.buffer.flush()


class _TextOnly:
    """A terminal, which shows what it is sent and obeys none of it."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> int:
        self._terminal.write(visible(self._decoder.decode(data)).encode())
        return len(data)


@contextmanager
def spooled_to_standard_output() -> Iterator[BinaryIO]:
    """An unnamed temporary file, private to its owner, that is copied to standard output once the block succeeds.

    A reader may pause, as a pager does: then only the copying waits.

    Raises:
        UsageError: standard output is closed.
        InkmillError: the disk of the temporary file, or the destination of standard output, is full or fails.
    """
    if sys.stdout is None:
        raise UsageError(STDOUT_CLOSED)
    advice = "nothing was written: free some space, or set TMPDIR to another folder, and export again"
    with ExitStack() as spool:
        with _translate_errors("a temporary file for standard output", InkmillError, advice):
            file = cast(BinaryIO, spool.enter_context(tempfile.TemporaryFile()))
            yield file
            file.seek(0)
        with standard_output() as out:
            shutil.copyfileobj(file, out, BUFFER_BYTES)


@contextmanager
def compressed(file: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """`file` behind a compressor: `gz`, `zst`, or none if `kind` is empty."""
    if not kind:
        yield file
        return
    if kind == "gz":  # without name and time, so that the same rows give the same bytes
        inner: object = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    else:
        inner = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    with io.BufferedWriter(cast(io.RawIOBase, inner), BUFFER_BYTES) as buffered:
        yield cast(BinaryIO, buffered)


@contextmanager
def _translate_errors(where: str, kind: type[InkmillError], advice: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise kind(f"{where}: could not be written ({_reason(error)}); {advice}") from error


def _reason(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return DISK_FULL.get(error.errno or 0) or error.strerror or str(error)
