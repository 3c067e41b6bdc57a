"""What somebody who reaches Redis could do to its messages: lose them, repeat them, and put others beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import redis

from bench.chaos import messages

MAILBOX = "/0.celery.pidbox"
"""The channel that Celery's control messages travel in, in Redis' database 0."""


class Forger:
    """One who has Redis' password and means harm."""

    def __init__(self, client: redis.Redis, sign: Path) -> None:
        """
        Args:
            sign: a file that appears where a planted message was executed.
        """
        self._client, self._sign = client, sign
        self._repeated: set[str] = set()

    def queues(self) -> list[str]:
        """The lists that hold messages now."""
        keys = [key for pattern in ("generate.*", "score.*") for key in self._client.scan_iter(pattern, count=1000)]
        return [cast("bytes", key).decode() for key in keys]

    def lose(self) -> int:
        """Takes every message that lies there. Returns how many."""
        lost = 0
        for queue in self.queues():
            taken = self._client.pipeline()
            taken.llen(queue)
            taken.delete(queue)
            lost += int(taken.execute()[0])
        return lost

    def repeat(self, times: int) -> int:
        """Every message that lies there is delivered `times` times. Returns how many copies were made."""
        made = 0
        for queue in self.queues():
            for raw in cast("list[bytes]", self._client.lrange(queue, 0, -1)):
                tag = json.loads(raw)["properties"]["delivery_tag"]
                if tag not in self._repeated:
                    self._repeated.add(tag)
                    made += times - 1
                    self._client.lpush(queue, *[raw] * (times - 1))
        return made

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
