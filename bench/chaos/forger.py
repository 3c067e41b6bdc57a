"""What somebody who reaches Redis could do to its messages: lose them, repeat them, and put others beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import redis

from bench.chaos import messages

MAILBOX = "/0.celery.pidbox"
"""The channel that Celery's control messages travel in, in Redis' database 0."""
THIEVES, TIMEOUT_SECONDS = 48, 1
"""How many wait for each message, and how long one waits before it asks anew, as the workers do."""
Stolen = tuple[bytes, bytes]
"""A queue, and a message that was in it."""


class Forger:
    """One who has Redis' password and means harm."""

    def __init__(self, client: redis.Redis, sign: Path) -> None:
        """
        Args:
            sign: a file that appears where a planted message was executed.
        """
        self._client, self._sign = client, sign

    def queues(self) -> list[str]:
        """The lists that hold messages now."""
        keys = [key for pattern in ("generate.*", "score.*") for key in self._client.scan_iter(pattern, count=1000)]
        return [cast("bytes", key).decode() for key in keys]

    @contextmanager
    def thieves(self, queues: Sequence[str]) -> Iterator[list[Stolen]]:
        """Takes every message that comes, before a worker does. Yields the list that they are put into.

        Redis gives a message to the one who has waited for it longest, and there are many more thieves than workers.
        """
        stolen, over = list[Stolen](), threading.Event()

        def steal() -> None:
            while not over.is_set():
                with suppress(redis.RedisError):
                    found = cast("Stolen | None", self._client.brpop(queues, timeout=TIMEOUT_SECONDS))
                    stolen.extend([found] if found is not None else [])

        threads = [threading.Thread(target=steal, daemon=True) for _ in range(THIEVES)]
        for thread in threads:
            thread.start()
        try:
            yield stolen
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def repeat(self, queues: Sequence[str], times: int, seconds: float) -> int:
        """Steals for some seconds, and delivers each of those messages so often. Returns how many deliveries."""
        with self.thieves(queues) as stolen:
            time.sleep(seconds)
        for queue, raw in stolen:
            self._client.lpush(queue, *[raw] * times)
        return times * len(stolen)

    def push(self, queue: str, raw: Iterable[bytes]) -> int:
        """Puts messages into a queue, in front of the honest ones. Returns how many."""
        pushed = 0
        for message in raw:
            self._client.rpush(queue, message)
            pushed += 1
        return pushed

    def command(self) -> int:
        """Sends every control message of `messages.commands`. Returns how often one was heard."""
        return sum(cast("int", self._client.publish(MAILBOX, raw)) for raw in messages.commands(self._sign))
