"""Where each custom_id first appeared: a hash table in two arrays, so that millions of ids take little memory."""

from __future__ import annotations

from array import array

MIN_SLOTS = 1 << 10


class CustomIdIndex:
    """Line numbers by 64-bit key: 24 to 48 bytes each, 72 while it grows; a dict takes 140.

    Open addressing with linear probing (Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm L), for keys
    that are already hashes.
    """

    def __init__(self) -> None:
        self._allocate(MIN_SLOTS)

    def first_line(self, key: int, line: int) -> int:
        """The line on which a key was first seen; `line` itself if the key is new.

        Args:
            key: from -2**63 to 2**63 - 1, as `hash` returns it. 0 and 1 count as the same.
        """
        key = key or 1
        keys = self._keys  # this runs for every row of a file, so it calls nothing
        slot = key & self._mask
        while occupant := keys[slot]:
            if occupant == key:
                return self._lines[slot]
            slot = (slot + 1) & self._mask
        keys[slot], self._lines[slot] = key, line
        self._free_slots -= 1
        if not self._free_slots:
            self._grow()
        return line

    def _grow(self) -> None:
        keys, lines = self._keys, self._lines
        self._allocate(2 * len(keys))
        for key, line in zip(keys, lines, strict=True):
            if key:
                self.first_line(key, line)

    def _allocate(self, slots: int) -> None:
        """Starts an empty table; key 0 marks a free slot. A third of them stay free, or a search might never end."""
        self._keys, self._lines = (array("q", [0]) * slots for _ in range(2))
        self._mask, self._free_slots = slots - 1, 2 * slots // 3
