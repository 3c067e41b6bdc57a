"""Notices an engine or scorer step that hangs, and ends the process: a thread cannot be killed, a process can."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

HANG_EXIT = 75
STANDARD_ERROR = 2
log = structlog.get_logger()


class Watchdog:
    """Steps under watch. Loading, compiling, and waiting for SQL or disk are not steps."""

    def __init__(self, limit: float, end: Callable[[int], object] = os._exit) -> None:
        """
        Args:
            limit: seconds one step may take.
            end: how the process is ended; its parent then sees what was running here as suspect.
        """
        self._limit, self.end = limit, end
        self._started: dict[str, float] = {}
        self._armed = False
        self._stood_still = 0.0  # seconds of this process' life in which none of it ran
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def arm(self) -> None:
        """Before `start`, in a process that is a worker's alone: has it end where not even this thread gets to run.

        Code that hangs with Python's global lock in its hand stops every thread; a timer of C ends it after twice the
        limit, with what each thread was doing on standard error. A process that is stopped for so long ends so too.
        """
        self._armed = True

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step of `name`, of which at most one runs at a time."""
        self._started[name] = self._now()
        try:
            yield
        finally:
            self._started.pop(name, None)

    def touch(self, name: str) -> None:
        """A sign of life in the middle of a long step."""
        if name in self._started:
            self._started[name] = self._now()

    def overdue(self) -> str | None:
        """The name of a step that takes longer than it may."""
        limit = self._now() - self._limit
        return next((name for name, started in list(self._started.items()) if started < limit), None)

    def _now(self) -> float:
        return time.monotonic() - self._stood_still

    def _watch(self) -> None:
        while True:
            if self._armed:
                # By its number: Celery puts a stand-in in the place of sys.stderr.
                faulthandler.dump_traceback_later(2 * self._limit, exit=True, file=STANDARD_ERROR)
            looked_at, pause = time.monotonic(), min(1.0, self._limit / 4)
            time.sleep(pause)
            # Where it looks this late, the whole process stood still, stopped or on a frozen machine: no step's fault.
            self._stood_still += max(0.0, time.monotonic() - looked_at - pause - self._limit / 4)
            hanging = self.overdue()
            if hanging is not None:
                log.critical("a step hangs; ending this process", step=hanging, seconds=self._limit)
                self.end(HANG_EXIT)
                return
