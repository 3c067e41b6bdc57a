"""SIGTERM: at once where nothing is lost by it, and after the step in hand while weights are being trained."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The process was asked to end; what it has done so far is saved. No Exception: libraries swallow those."""


class Interruption:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.requested, self._deferred = False, False

    def listen(self) -> None:
        """From now on SIGTERM is heard. Of the main thread."""
        signal.signal(signal.SIGTERM, self._hear)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """For a block that looks for itself whether it was asked to end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise Interrupted
