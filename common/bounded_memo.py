"""What was worked out once and is asked for again and again, kept up to so many bytes.

Counting entries bounds nothing: one row may say a megabyte of settings. What a value means is not known here.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST_BYTES = 1 << 20
ENTRY_BYTES = 256
"""What an entry takes beside what it says."""


class Known(Generic[K, V]):
    """Values by key. Sizes are those of JSON; as objects, values take up to some 25 times that."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._left = MOST_BYTES

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def keep(self, key: K, value: V, size: int) -> None:
        """Keeps a value where there is room for it; else it is worked out again each time.

        Args:
            size: the bytes of JSON that say what the key and the value say.
        """
        size += ENTRY_BYTES
        if size <= self._left:
            self._left -= size
            self._values[key] = value
