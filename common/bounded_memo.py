"""Values that are computed once and asked for again and again, kept up to so many bytes.

Counting entries bounds nothing: one row may bring a megabyte of settings. What a value means is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MEMO_BYTES = 1 << 20
ENTRY_BYTES = 256
"""What an entry takes beside its content."""


class BoundedMemo(Generic[K, V]):
    """Values by key. Sizes are those of JSON; as objects, values take up to some 25 times that."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._free_bytes = MEMO_BYTES

    def get(self, key: K, compute: Callable[[], V], json_bytes: Callable[[V], int]) -> V:
        """The value of a key. A new one is computed, and kept if there is room for it.

        Args:
            json_bytes: how long the key and the value are as JSON.
        """
        if key in self._values:
            return self._values[key]
        value = compute()
        size = json_bytes(value) + ENTRY_BYTES
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._values[key] = value
        return value
