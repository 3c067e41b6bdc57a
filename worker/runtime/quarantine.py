"""What may run together in one process: ordinary batches do, a suspect runs alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SUSPECTS_SECONDS = 60.0
"""Suspects wait until nothing else is left; where work never runs out, they get a turn this often."""


class Turns:
    """A readers-writer lock that prefers writers: while a suspect waits, no ordinary batch starts."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = False
        self._waiting = False
        self._turn_at: dict[str, float] = {}

    def suspects_due(self, kind: str) -> bool:
        """Whether suspects of a kind have waited for long, if there are any."""
        now = time.monotonic()
        return now - self._turn_at.setdefault(kind, now) > SUSPECTS_SECONDS

    def suspects_had_their_turn(self, kind: str) -> None:
        """One has run, or there was none."""
        self._turn_at[kind] = time.monotonic()

    @property
    def suspect_waits(self) -> bool:
        return self._waiting

    @contextmanager
    def together(self) -> Iterator[bool]:
        """Yields whether an ordinary batch may run now. Never waits: the message was only a hint."""
        with self._changed:
            granted = not self._alone and not self._waiting
            self._together += granted
        try:
            yield granted
        finally:
            with self._changed:
                self._together -= granted
                self._changed.notify_all()

    @contextmanager
    def alone(self, stopping: threading.Event) -> Iterator[bool]:
        """Waits until nothing else runs, then yields True; False where another suspect is ahead, or at a stop."""
        with self._changed:
            granted = not self._alone and not self._waiting
            if granted:
                self._waiting = True
                while self._together and not stopping.is_set():
                    self._changed.wait(0.2)
                self._waiting = False
                granted = self._alone = not stopping.is_set()
        try:
            yield granted
        finally:
            if granted:
                with self._changed:
                    self._alone = False
                    self._changed.notify_all()
