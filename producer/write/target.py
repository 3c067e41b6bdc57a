"""A path to write to, and whether an existing file there may be replaced: only one that Inkmill wrote.

That is a file whose path and bytes are those the database has on record. Knows neither formats nor rows.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from contract.errors import InkmillError, UsageError
from db.jobs.written_files import jobs_of_file, record_file
from db.session.engine import Database
from producer.write.new_file import new_file

NEW_JOB = 0
"""The number of a job that is not stored yet: no file belongs to it."""


class MayReplace(Enum):
    """Which existing files may be replaced."""

    SAME_JOB = "a file written there for the same job"
    ANY_JOB = "a file written there for any job"
    ANY_FILE = "any file, whoever wrote it"


class Target:
    """A path for a file of a job, free or taken by a file that may be replaced. This is checked again before replacing.

    Raises (from any method):
        UsageError: another file exists there.
    """

    def __init__(
        self,
        database: Database,
        path: Path,
        job_id: int | None,
        advice: str,
        may_replace: MayReplace = MayReplace.SAME_JOB,
    ) -> None:
        """
        Args:
            job_id: None for a file of bad lines, which belongs to no job.
            advice: what the user can do if another file exists there.
        """
        self.path = path
        self._database, self._job_id, self._advice, self._may_replace = database, job_id, advice, may_replace
        self._canonical_path = canonical_path(path)
        self._version = self._check_replaceable()

    @contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The file to write, as `new_file` makes it; its digest is recorded before it gets its name."""
        with new_file(self.path, self._record) as file:
            yield file

    def remove(self) -> None:
        """Removes the file, if it exists."""
        self._check_again()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise InkmillError(
                f"{self.path}: is from an earlier export and could not be removed ({error.strerror}); remove it, "
                "since no prompt of this job is dead"
            ) from error

    def _record(self, digest: str) -> None:
        record_file(self._database, self._canonical_path, digest, self._job_id)
        self._check_again()

    def _check_again(self) -> None:
        if _file_version(self.path) != self._version:
            self._version = self._check_replaceable()

    def _check_replaceable(self) -> tuple[int, ...] | None:
        version = _file_version(self.path)
        if version is not None and self._may_replace is not MayReplace.ANY_FILE and not self._may_be_replaced():
            raise UsageError(f"{self.path}: already exists, and {self._why_refused()}; {self._advice}")
        return version

    def _may_be_replaced(self) -> bool:
        digest = _digest(self.path)
        jobs = jobs_of_file(self._database, self._canonical_path, digest) if digest else set()
        return bool(jobs) if self._may_replace is MayReplace.ANY_JOB else self._job_id in jobs

    def _why_refused(self) -> str:
        if self._job_id is None or self._may_replace is MayReplace.ANY_JOB:
            return "is not as Inkmill wrote it"
        return "is not as it was written for this job"


def canonical_path(path: Path) -> bytes:
    """`path` made absolute, with links resolved except a last one, which a new file would replace."""
    return os.fsencode(os.path.realpath(path.parent)) + b"/" + os.fsencode(path.name)


def _file_version(path: Path) -> tuple[int, ...] | None:
    """Identifies the file at `path` and its version; None if there is no file."""
    try:
        status = path.lstat()
    except OSError:  # no permission, or too long a name: nothing can be replaced there either
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(path: Path) -> str | None:
    """SHA-256 of a regular file; None for anything else, or if it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return hashlib.file_digest(file, "sha256").hexdigest() if regular else None
    except OSError:
        return None
