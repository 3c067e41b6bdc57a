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
class _Seen:
    """The last read of one topic."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    until: float | None = None  # on the monotonic clock; None = not read yet


class Watched:
    """What is being watched, by topic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: dict[Hashable, _Seen] = {}

    def look(self, topic: Hashable, read: Callable[[], T], seconds: float) -> T:
        """What `read` returns, or returned at most `seconds` ago to another caller.

        Raises:
            Exception: whatever `read` raises; the next call tries again.
        """
        seen = self._topic(topic)
        if seen.until is not None and time.monotonic() < seen.until:
            return cast(T, seen.value)
        with seen.lock:
            if seen.until is None or time.monotonic() >= seen.until:  # nobody has read it while this one waited
                seen.value = read()
                seen.until = time.monotonic() + seconds
            return cast(T, seen.value)

    def _topic(self, topic: Hashable) -> _Seen:
        with self._lock:
            seen = self._topics.pop(topic, None) or _Seen()
            self._topics[topic] = seen  # most recently used last
            while len(self._topics) > KEPT_TOPICS:
                self._topics.pop(next(iter(self._topics)))
            return seen
