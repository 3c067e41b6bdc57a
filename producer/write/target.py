"""A name that a file of ours is to have, and whether what lies there may make way: only what we wrote there ourselves.

Ours is what the database says was written at this path, byte for byte. Knows neither forms nor rows.
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
"""The number of a job that is not stored yet: no file is its own."""


class MayReplace(Enum):
    """Which of the files that may lie at a name make way."""

    OWN = "what was written there of the same job"
    OURS = "what was written there of any job"
    ANY = "any file, whoever wrote it"


class Target:
    """A name for a file of a job, found free or taken by a file that may make way. Looked at again before that happens.

    Raises (everywhere):
        UsageError: something else lies there.
    """

    def __init__(
        self, database: Database, path: Path, job_id: int | None, advice: str, may_replace: MayReplace = MayReplace.OWN
    ) -> None:
        """
        Args:
            job_id: None = the file holds skipped lines, and is of no job.
            advice: what to do where something else lies there.
        """
        self.path = path
        self._database, self._job_id, self._advice, self._may_replace = database, job_id, advice, may_replace
        self._place = place_of(path)
        self._seen = self._checked()

    @contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The file to write, as `new_file` makes it; what it will hold is on record before it takes its name."""
        with new_file(self.path, self._take) as file:
            yield file

    def remove(self) -> None:
        """Removes what lies there, if anything does."""
        self._check_again()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as wrong:
            raise InkmillError(
                f"{self.path}: is of an earlier export and could not be removed ({wrong.strerror}); remove it, no "
                "prompt of this job is dead"
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
            raise UsageError(f"{self.path}: is there already, and {self._whose()}; {self._advice}")
        return seen

    def _makes_way(self) -> bool:
        digest = _digest(self.path)
        jobs = jobs_of_file(self._database, self._place, digest) if digest else set()
        return bool(jobs) if self._may_replace is MayReplace.OURS else self._job_id in jobs

    def _whose(self) -> str:
        if self._job_id is None or self._may_replace is MayReplace.OURS:
            return "not as Inkmill wrote it"
        return "not as it was written of this job"


def place_of(path: Path) -> bytes:
    """The one absolute path of whatever `path` leads to. A link at its end is not followed: a file takes its place."""
    return os.fsencode(os.path.realpath(path.parent)) + b"/" + os.fsencode(path.name)


def _look(path: Path) -> tuple[int, ...] | None:
    """What tells the file at `path` from another one, and from itself after a change; None where there is none."""
    try:
        found = path.lstat()
    except OSError:  # a folder that cannot be entered, a name that is too long: nothing can be replaced there either
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(path: Path) -> str | None:
    """SHA-256 of an ordinary file's bytes; None of anything else, and of what cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            ordinary = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return hashlib.file_digest(file, "sha256").hexdigest() if ordinary else None
    except OSError:
        return None
