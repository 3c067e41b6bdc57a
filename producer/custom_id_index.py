"""The first line of each custom_id: a hash table in two arrays, so that millions of ids take little memory."""

from __future__ import annotations

from array import array

FEWEST_SLOTS = 1 << 10


class FirstLines:
    """Line numbers by 64-bit key, 24 to 48 bytes each, 72 while it grows; a dict takes 140.

    Open addressing with linear probing (Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm L), for keys
    that are already hashes.
    """

    def __init__(self) -> None:
        self._have(FEWEST_SLOTS)

    def first(self, key: int, number: int) -> int:
        """The line on which a key was first seen; `number` if that is now.

        Args:
            key: from -2**63 to 2**63 - 1, as `hash` returns it. 0 and 1 count as the same.
        """
        key = key or 1
        keys = self._keys  # runs for each row of a file: no calls
        place = key & self._last
        while found := keys[place]:
            if found == key:
                return self._lines[place]
            place = (place + 1) & self._last
        keys[place], self._lines[place] = key, number
        self._free -= 1
        if not self._free:
            self._grow()
        return number

    def _grow(self) -> None:
        keys, lines = self._keys, self._lines
        self._have(2 * len(keys))
        for key, line in zip(keys, lines, strict=True):
            if key:
                self.first(key, line)

    def _have(self, slots: int) -> None:
        """Starts a table of so many slots; 0 is a free one. A third stay free: a search in a full table would never
        end."""
        self._keys, self._lines = (array("q", [0]) * slots for _ in range(2))
        self._last, self._free = slots - 1, 2 * slots // 3
