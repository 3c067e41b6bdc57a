"""Whose fault it is that a request finds no memory, though it is alone in the only slot: its own, or nobody's.

Nobody's, as far as one can tell, until another one was finished meanwhile: another process may hold the memory for a
while. Waits for nothing itself.
"""

from __future__ import annotations

from collections.abc import Hashable

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, *7 * (15.0,))
"""Seconds to wait after each try in a row that found none; two minutes in all for one that is alone in every sense."""


class Shortage:
    """Requests that found no memory alone, until they are finished, charged or forgotten."""

    def __init__(self) -> None:
        self._tries: dict[Hashable, int] = {}
        self._others_finished: set[Hashable] = set()  # of those that failed: since they did
        self._in_a_row = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try; 0 where memory was there at the last."""
        return PAUSES[min(self._in_a_row, len(PAUSES)) - 1] if self._in_a_row else 0.0

    def charges(self, key: Hashable) -> bool:
        """Whether this is the request's own fault, which failed alone now; it is forgotten then."""
        self._in_a_row += 1
        self._tries[key] = self._tries.get(key, 0) + 1
        if key not in self._others_finished and self._tries[key] <= len(PAUSES):
            return False
        self.forget(key)
        return True

    def starved(self) -> bool:
        """Not even the only slot itself fits, with nobody in it: whether it was tried often enough in a row."""
        self._in_a_row += 1
        return self._in_a_row > len(PAUSES)

    def relieved(self) -> None:
        """Something was computed: memory is there."""
        self._in_a_row = 0

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
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
