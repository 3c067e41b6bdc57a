"""Where an export's bytes go: a file that appears complete or not at all, or standard output.

Bytes only. A file is written under a temporary name in its folder, synced to disk, and then renamed.
"""

from __future__ import annotations

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

from contract.errors import InkmillError, UsageError

UNFINISHED = re.compile(r"\.inkmill-[0-9a-f]{32}\.tmp")
"""The random name of a file that is being written."""
BUFFER = 1 << 20
SWEPT_AFTER_SECONDS = 60
"""A younger unfinished file may not be locked yet by its process."""
ROOM = "nothing was lost: free some space or name another place, and export again"
CLOSED = "-o -: standard output is closed; name a file"
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def check_target(path: Path) -> None:
    """Checks, before any work, that a file can be created at `path`.

    Raises:
        UsageError: its folder is missing or it names something other than a file.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(f"-o {path}: there is no folder {path.parent}; create it, or name another one")
        found = path.stat().st_mode if path.exists() else None  # follows links: what looks like a file may be a device
        with suppress(FileNotFoundError):
            path.lstat()
        if _is_no_place_for_files(path.parent.resolve()):
            raise UsageError(f"-o {path}: {path.parent} is not for regular files; name a file elsewhere")
    except (OSError, ValueError) as wrong:  # a name that is too long, a folder without permission
        raise UsageError(f"-o {path}: cannot be written ({_said(wrong)}); name another file") from wrong
    if found is not None and stat.S_ISDIR(found):
        raise UsageError(f"-o {path}: is a folder; name a file in it")
    if found is not None and not stat.S_ISREG(found):
        raise UsageError(f"-o {path}: is not a regular file; use '-o -' and redirect standard output there")


def _is_no_place_for_files(folder: Path) -> bool:
    """A mistyped device name must not become a file. /dev/shm is memory, and meant for files."""
    special = any(folder.is_relative_to(place) for place in ("/dev", "/proc", "/sys"))
    return special and not folder.is_relative_to("/dev/shm")  # noqa: S108


class _Digested(io.FileIO):
    """A file that computes the SHA-256 of what is written to it, sequentially from the start."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self.digest = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self.digest.update(memoryview(data).cast("B")[:count])
        return count


@contextmanager
def new_file(path: Path, before: Callable[[str], object] = lambda digest: None) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the block succeeds; otherwise it is removed, and an old file stays.

    Only its owner can read it. If `path` is a symbolic link, the file replaces the link, and the link's target is not
    touched. A killed process leaves a hidden `.inkmill-….tmp`, which the next export to that folder removes after a
    minute.

    Args:
        before: called with the SHA-256 of the file, in hexadecimal, before the rename; it may raise.

    Raises:
        UsageError: the folder refuses a new file.
        InkmillError: the disk is full, or fails.
    """
    with _translated(str(path), InkmillError, ROOM):
        _sweep(path.parent)
        descriptor, temporary = _make(path)
        try:
            with _Digested(descriptor) as raw, io.BufferedWriter(raw, BUFFER) as file:
                yield cast(BinaryIO, file)
                file.flush()
                os.fsync(descriptor)
                before(raw.digest.hexdigest())
                os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _make(path: Path) -> tuple[int, Path]:
    temporary = path.with_name(f".inkmill-{secrets.token_hex(16)}.tmp")
    with _translated(f"-o {path}", UsageError, "name a file where you may write"):
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)  # never through a link
    with suppress(OSError):  # some network disks have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor, temporary


def _sweep(folder: Path) -> None:
    """Removes what killed processes left: our unfinished files that are not locked."""
    for left in (file for file in folder.glob(".inkmill-*") if UNFINISHED.fullmatch(file.name)):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_left(os.fstat(descriptor)):
                    left.unlink()
            finally:
                os.close(descriptor)


def _is_left(found: os.stat_result) -> bool:
    mine = found.st_uid == os.geteuid() and found.st_mode == stat.S_IFREG | 0o600 and found.st_nlink == 1
    return mine and time.time() - found.st_mtime > SWEPT_AFTER_SECONDS


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as wrong:
        if wrong.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output as bytes. A reader that closes early is a BrokenPipeError, as usual.

    Raises:
        UsageError: it is closed.
        InkmillError: its destination is full, or fails.
    """
    if sys.stdout is None:
        raise UsageError(CLOSED)
    with _translated("standard output", InkmillError, "the output is incomplete"):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def spooled_to_standard_output() -> Iterator[BinaryIO]:
    """A file to write that is copied to standard output once the block succeeds: a reader may pause, as a pager does,
    and only the copying waits for it. Until then it is an unnamed temporary file, private to its owner.

    Raises:
        UsageError: standard output is closed.
        InkmillError: the temporary disk or the destination of standard output is full, or fails.
    """
    if sys.stdout is None:
        raise UsageError(CLOSED)
    advice = "nothing was written: free some space, or set TMPDIR to another folder, and export again"
    with ExitStack() as spool:
        with _translated("a temporary file for standard output", InkmillError, advice):
            file = cast(BinaryIO, spool.enter_context(tempfile.TemporaryFile()))
            yield file
            file.seek(0)
        with standard_output() as out:
            shutil.copyfileobj(file, out, BUFFER)


@contextmanager
def compressed(file: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """`file` behind a compressor: `gz`, `zst`, or none if `kind` is empty."""
    if not kind:
        yield file
        return
    if kind == "gz":  # no name and no time inside: the same rows give the same bytes
        inner: object = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    else:
        inner = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    with io.BufferedWriter(cast(io.RawIOBase, inner), BUFFER) as buffered:
        yield cast(BinaryIO, buffered)


@contextmanager
def _translated(where: str, kind: type[InkmillError], advice: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as wrong:
        raise kind(f"{where}: could not be written ({_said(wrong)}); {advice}") from wrong


def _said(wrong: OSError | ValueError) -> str:
    if not isinstance(wrong, OSError):
        return str(wrong)
    return FULL.get(wrong.errno or 0) or wrong.strerror or str(wrong)
