"""One database read for all who watch the same topic: a page that is open ten times reads no more often than one.

Knows nothing of the topics, and reads nothing while nobody watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")
KEPT_TOPICS = 256


@dataclass(slots=True)
class _LastRead:
    """The last read of one topic."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    fresh_until: float | None = None  # on the monotonic clock; None = not read yet

    @property
    def fresh(self) -> bool:
        return self.fresh_until is not None and time.monotonic() < self.fresh_until


class SharedReads:
    """The last read of each topic, most recently used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: dict[Hashable, _LastRead] = {}

    def get(self, topic: Hashable, read: Callable[[], T], seconds: float) -> T:
        """What `read` returns, or returned at most `seconds` ago to another caller.

        Raises:
            Exception: whatever `read` raises; the next call tries again.
        """
        last = self._topic(topic)
        if last.fresh:
            return cast(T, last.value)
        with last.lock:
            if not last.fresh:  # nobody has read it while this one waited
                last.value = read()
                last.fresh_until = time.monotonic() + seconds
            return cast(T, last.value)

    def _topic(self, topic: Hashable) -> _LastRead:
        with self._lock:
            last = self._topics.pop(topic, None) or _LastRead()
            self._topics[topic] = last
            while len(self._topics) > KEPT_TOPICS:
                self._topics.pop(next(iter(self._topics)))
            return last
