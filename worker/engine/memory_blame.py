"""Whose fault it is that a request finds no memory, though it is alone in the only slot: its own, or nobody's.

Nobody's, as far as one can tell, until another request was finished meanwhile: another process may hold the memory for
a while. Waits for nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

from worker.engine.sequence import Request

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds to wait after each try that found none; a minute in all for one that nobody can be compared with."""


class Shortage:
    """Requests that found no memory alone, until they are finished, charged or forgotten."""

    def __init__(self) -> None:
        self._tries: dict[Hashable, int] = {}
        self._others_finished: set[Hashable] = set()  # of those that failed: since they did
        self._starved = 0
        self.pause = 0.0
        """Seconds to wait before the next try; 0 where memory was there at the last."""

    @property
    def undecided(self) -> bool:
        """Whether a request failed that may yet be finished, or charged."""
        return bool(self._tries)

    def charges(self, key: Hashable) -> bool:
        """Whether this is the request's own fault, which failed alone now; it is forgotten then."""
        tries = self._tries.get(key, 0)
        if key in self._others_finished or tries >= len(PAUSES):
            self.forget(key)
            self.pause = 0.0
            return True
        self._tries[key] = tries + 1
        self.pause = PAUSES[tries]
        return False

    def place(self, waiting: Collection[Request]) -> int:
        """Where in the line one that failed goes: behind the first who may show that there is memory for somebody."""
        others = (place for place, request in enumerate(waiting, 1) if request.key not in self._tries)
        return next(others, len(waiting))

    def starved(self) -> bool:
        """Not even the only slot itself fits, with nobody in it: whether it was tried often enough in a row."""
        self.pause = PAUSES[min(self._starved, len(PAUSES) - 1)]
        self._starved += 1
        return self._starved > len(PAUSES)

    def relieved(self) -> None:
        """Something was computed: memory is there."""
        self.pause, self._starved = 0.0, 0

    def finished(self, key: Hashable) -> None:
        """A request had memory enough to its end; those that have none are compared with it."""
        if self._tries:
            self.forget(key)
            self._others_finished |= self._tries.keys()

    def forget(self, key: Hashable) -> None:
        """It is charged, finished or cancelled."""
        self._tries.pop(key, None)
        self._others_finished.discard(key)


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on whichever device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not loaded here
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in message or "can't allocate memory" in message)
