"""Detects commands that were killed half-way: their jobs have made no progress between two checks, a minute apart."""

from __future__ import annotations

import time
from collections.abc import Callable

CHECK_SECONDS = 60.0
"""A retry or a reflag that makes no progress for this long was killed."""


class StalledJobs:
    """Compares the progress of half-finished jobs from one check to the next."""

    def __init__(self, read_progress: Callable[[], dict[int, int]]) -> None:
        """
        Args:
            read_progress: returns the progress of each half-finished job, by its ID.
        """
        self._read_progress = read_progress
        self._last: dict[int, int] = {}
        self._checked_at = 0.0

    def jobs(self) -> list[int]:
        """The jobs without progress since the last check; none if that was less than CHECK_SECONDS ago."""
        if time.monotonic() - self._checked_at < CHECK_SECONDS:
            return []
        self._checked_at = time.monotonic()
        previous, self._last = self._last, self._read_progress()
        return [job_id for job_id, _ in self._last.items() & previous.items()]
