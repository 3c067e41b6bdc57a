"""What somebody who reaches Redis could do to its messages: lose, repeat, forge, break them, and plant code in them.

Knows Celery's message format, protocol 2, and kombu's envelope in Redis around it.
"""

from __future__ import annotations

import base64
import json
import pickle
import random
import uuid
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import redis

from contract.queue import GENERATE, SCORE

NESTED = 100_000
HUGE_BYTES = 2**24
BOMB_BYTES = 2**28
"""What a compressed message of a quarter of a megabyte would grow to."""
MAILBOX = "/0.celery.pidbox"
"""The channel that Celery's control messages travel in, in Redis' database 0."""


class Planted:
    """Unpickled, it makes a file: a sign that something was executed."""

    def __init__(self, sign: Path) -> None:
        self._sign = str(sign)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._sign, "w")


def envelope(body: bytes, headers: Any, *, kind: str = "application/json", queue: str = "", **other: Any) -> bytes:
    """A message as kombu puts it into a list."""
    properties = {
        "correlation_id": uuid.uuid4().hex,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": uuid.uuid4().hex,
    }
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": kind,
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(message | other).encode()


def task(name: str, *args: Any, queue: str = "", kwargs: Any = None, **headers: Any) -> bytes:
    """A task's message, well-formed but for what is said."""
    body = json.dumps([list(args), kwargs or {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    said = {"lang": "py", "task": name, "id": uuid.uuid4().hex, "argsrepr": repr(args), "kwargsrepr": "{}",
            "retries": 0, "timelimit": [None, None], "root_id": None, "parent_id": None, "eta": None}  # fmt: skip
    return envelope(body.encode(), said | headers, queue=queue)


class Forger:
    """One who has Redis' password and means harm."""

    def __init__(self, client: redis.Redis, rng: random.Random, sign: Path) -> None:
        """
        Args:
            sign: a file that appears where a planted message was executed.
        """
        self._client, self._rng, self._sign = client, rng, sign
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

    def forged(self) -> Iterator[bytes]:
        """Well-formed messages that name what does not exist, is no number, or is not this house's task."""
        hints: list[Any] = [self._rng.randrange(10**6), 0, -1, 2**63, 2**200, 1.5, True, None, "1", "request-1",
                            "request-99999999", "'; DROP TABLE batches; --", [1], {"id": 1}, "x" * 10_000]  # fmt: skip
        for name in (GENERATE, SCORE):
            for hint in hints:
                yield task(name, hint)
            yield task(name)
            yield task(name, 1, 2, 3)
            yield task(name, kwargs={"hint": 1, "_runtime": None})
        yield task("os.system", f"touch {self._sign}")
        yield task("celery.starmap", kwargs={"task": {"task": GENERATE, "args": []}, "it": [[1], [2]]})
        yield task("celery.chord_unlock", "group", kwargs={"callback": {"task": GENERATE}, "result": []})
        far = "2999-01-01T00:00:00+00:00"
        odd: tuple[dict[str, Any], ...] = (
            {"eta": far}, {"eta": "never"}, {"expires": far}, {"expires": "x"}, {"retries": "many"}, {"shadow": {}},
            {"timelimit": [1, 1]}, {"timelimit": "x"}, {"id": 7}, {"id": None}, {"root_id": []},
            {"reply_to": "x" * 1000}, {"ignore_result": False},
        )  # fmt: skip
        for headers in odd:
            yield task(GENERATE, 1, **headers)
        chained = {"task": SCORE, "args": [1], "kwargs": {}, "options": {}}
        for links in ({"callbacks": [chained]}, {"chain": [chained]}, {"chord": chained}, {"errbacks": [chained]}):
            body = json.dumps([[1], {}, links]).encode()
            yield envelope(body, {"task": GENERATE, "id": uuid.uuid4().hex})

    def malformed(self) -> Iterator[bytes]:
        """What is no message at all, or lacks a part of one."""
        whole = json.loads(task(GENERATE, 1))
        yield from (b"", b"\x00", b"\xff\xfe", b"{", b"null", b"[]", b"7", b'"text"', b"{}", b'{"a": NaN}')
        yield json.dumps(whole).encode()[: self._rng.randrange(1, 300)]
        wrongs: tuple[Any, ...] = (None, 7, "x", [], {})
        for part in whole:
            yield json.dumps({name: value for name, value in whole.items() if name != part}).encode()
            for wrong in wrongs:
                yield json.dumps(whole | {part: wrong}).encode()
        for part in whole["properties"]:
            properties = {name: value for name, value in whole["properties"].items() if name != part}
            yield json.dumps(whole | {"properties": properties}).encode()
            yield json.dumps(whole | {"properties": properties | {part: {"odd": []}}}).encode()
        for body in (b"\xff", b"{", b"null", b"[]", b"[1]", b"[[1]]", b"[1, 2, 3]", b'[[1], {}, "x"]', b"{}"):
            yield envelope(body, {"task": GENERATE, "id": "1"})
        for headers in ({"task": 7}, {"task": None, "id": "1"}, {"task": ["x"], "id": "1"}, {"task": GENERATE}):
            yield envelope(b"[[1], {}, {}]", headers)

    def hostile(self) -> Iterator[bytes]:
        """Code in place of data, and data that is meant to break its reader."""
        headers = {"task": GENERATE, "id": uuid.uuid4().hex}
        pickled = pickle.dumps(Planted(self._sign))
        for kind in ("application/x-python-serialize", "pickle", "application/json", "application/data"):
            yield envelope(pickled, headers, kind=kind)
        yaml = f"!!python/object/apply:builtins.open [{str(self._sign)!r}, w]".encode()
        for kind in ("application/x-yaml", "yaml", "application/json"):
            yield envelope(yaml, headers, kind=kind)
        yield b"[" * NESTED
        yield b'{"body":' * NESTED
        yield envelope(b"[" * NESTED + b"]" * NESTED, headers)
        yield task(GENERATE, "x" * HUGE_BYTES)
        yield envelope(b"[[" + b"9" * 100_000 + b"], {}, {}]", headers)
        for method in ("application/x-gzip", "gzip", "zlib"):
            yield envelope(_bomb(), headers | {"compression": method})

    def push(self, queue: str, messages: Iterator[bytes]) -> int:
        """Puts messages into a queue, in front of the honest ones. Returns how many."""
        pushed = 0
        for message in messages:
            self._client.rpush(queue, message)
            pushed += 1
        return pushed

    def command(self) -> int:
        """Control messages: commands that would stop or change a worker, and what is no command. Returns how many."""
        methods: list[Any] = ["shutdown", "pool_shrink", "cancel_consumer", "rate_limit", "revoke", "time_limit",
                              "autoscale", "pool_restart", "add_consumer", "memdump", "no such", 7, None]  # fmt: skip
        sent = 0
        for method in methods:
            body = json.dumps({"method": method, "arguments": {"queue": "x", "n": 99}, "destination": None}).encode()
            sent += int(cast("int", self._client.publish(MAILBOX, envelope(body, {}))))
        pickled = envelope(pickle.dumps(Planted(self._sign)), {}, kind="application/x-python-serialize")
        for raw in (b"{", b"null", b"[" * NESTED, b"{}", pickled):
            sent += int(cast("int", self._client.publish(MAILBOX, raw)))
        return sent


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Zeros, a thousandth of their size."""
    packer = zlib.compressobj(9)
    part = bytes(2**20)
    return b"".join([packer.compress(part) for _ in range(BOMB_BYTES // len(part))]) + packer.flush()
