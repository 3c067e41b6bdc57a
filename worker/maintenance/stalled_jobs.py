"""Commands that were killed half way: what they left undone is the same at two looks, a minute apart."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 60.0
"""A retry or a reflag that advances by nothing for so long was killed."""


class Standstill:
    """Looks again and again at what is half done, and tells what did not advance."""

    def __init__(self, look: Callable[[], dict[int, int]]) -> None:
        """
        Args:
            look: returns the jobs that are half done, and how far each is.
        """
        self._look = look
        self._last: dict[int, int] = {}
        self._looked_at = 0.0

    def jobs(self) -> list[int]:
        """The jobs that are as they were at the last look; none where that was less than LOOK_SECONDS ago."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return []
        self._looked_at = time.monotonic()
        before, self._last = self._last, self._look()
        return [job_id for job_id, _ in self._last.items() & before.items()]
