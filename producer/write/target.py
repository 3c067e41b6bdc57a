"""A path to write to, and whether an existing file there may be replaced: only one that we wrote ourselves.

Ours is what the database says was written at this path, byte for byte. Knows neither formats nor rows.
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

    OWN = "what was written there of the same job"
    OURS = "what was written there of any job"
    ANY = "any file, whoever wrote it"


class Target:
    """A path for a file of a job, free or taken by a file that may be replaced. Checked again before it is.

    Raises (everywhere):
        UsageError: another file exists there.
    """

    def __init__(
        self, database: Database, path: Path, job_id: int | None, advice: str, may_replace: MayReplace = MayReplace.OWN
    ) -> None:
        """
        Args:
            job_id: None = the file is for skipped lines, and belongs to no job.
            advice: what to do if another file exists there.
        """
        self.path = path
        self._database, self._job_id, self._advice, self._may_replace = database, job_id, advice, may_replace
        self._place = place_of(path)
        self._seen = self._checked()

    @contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The file to write, as made by `new_file`; its digest is recorded before it gets its name."""
        with new_file(self.path, self._take) as file:
            yield file

    def remove(self) -> None:
        """Removes the file, if it exists."""
        self._check_again()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as wrong:
            raise InkmillError(
                f"{self.path}: is from an earlier export and could not be removed ({wrong.strerror}); remove it, "
                "since no prompt of this job is dead"
            ) from wrong

    def _take(self, digest: str) -> None:
        record_file(self._database, self._place, digest, self._job_id)
        self._check_again()

    def _check_again(self) -> None:
        if _look(self.path) != self._seen:
            self._seen = self._checked()

    def _checked(self) -> tuple[int, ...] | None:
        seen = _look(self.path)
        if seen is not None and self._may_replace is not MayReplace.ANY and not self._makes_way():
            raise UsageError(f"{self.path}: already exists, and {self._whose()}; {self._advice}")
        return seen

    def _makes_way(self) -> bool:
        digest = _digest(self.path)
        jobs = jobs_of_file(self._database, self._place, digest) if digest else set()
        return bool(jobs) if self._may_replace is MayReplace.OURS else self._job_id in jobs

    def _whose(self) -> str:
        if self._job_id is None or self._may_replace is MayReplace.OURS:
            return "is not as Inkmill wrote it"
        return "is not as it was written for this job"


def place_of(path: Path) -> bytes:
    """The canonical absolute path of `path`. A link at its end is not followed, since a file replaces it."""
    return os.fsencode(os.path.realpath(path.parent)) + b"/" + os.fsencode(path.name)


def _look(path: Path) -> tuple[int, ...] | None:
    """The identity and version of the file at `path`; None if there is none."""
    try:
        found = path.lstat()
    except OSError:  # no permission, or a name that is too long: nothing can be replaced there either
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(path: Path) -> str | None:
    """SHA-256 of a regular file; None for anything else, or if it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            ordinary = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return hashlib.file_digest(file, "sha256").hexdigest() if ordinary else None
    except OSError:
        return None
