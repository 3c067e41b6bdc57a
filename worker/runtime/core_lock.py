"""The cores of a CPU, held by the engine or by the scorer, never by both: each uses all threads while it computes.

Two pools of threads on the same cores would wait for each other at the end of every loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """A lock that is handed on in the order of asking: `threading.Lock` lets its last holder take it again at once."""

    def __init__(self, *, shared: bool) -> None:
        """
        Args:
            shared: whether engine and scorer compute on the same cores; otherwise neither ever waits.
        """
        self._shared = shared
        self._lock = threading.Lock()
        self._held = False
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def held(self) -> Iterator[None]:
        """All cores, once those that asked earlier have had their turn."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    def give_way(self) -> None:
        """Let those that wait have their turn in the middle of the caller's."""
        if self._queue:
            self._release()
            self._acquire()

    def _acquire(self) -> None:
        if not self._shared:
            return
        with self._lock:
            if not self._held:
                self._held = True
                return
            turn = threading.Event()
            self._queue.append(turn)
        turn.wait()

    def _release(self) -> None:
        if not self._shared:
            return
        with self._lock:
            if self._queue:
                self._queue.popleft().set()  # handed over: it stays held
            else:
                self._held = False
