"""What somebody who reaches Redis could put there: forged, malformed and hostile messages, and control commands.

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
from typing import Any

from contract.queue import GENERATE, SCORE

NESTED = 100_000
HUGE_BYTES = 2**24
BOMB_BYTES = 2**28
"""What a compressed message of a quarter of a megabyte would grow to."""


class Planted:
    """Unpickled, it makes a file: a sign that something was executed."""

    def __init__(self, sign: Path) -> None:
        self._sign = str(sign)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._sign, "w")


def envelope(body: bytes, headers: Any, *, kind: object = "application/json", queue: str = "", **other: Any) -> bytes:
    """A message as kombu puts it into a list.

    Args:
        other: parts of the envelope that stand instead of the honest ones.
    """
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
    fields = {"lang": "py", "task": name, "id": uuid.uuid4().hex, "argsrepr": repr(args), "kwargsrepr": "{}",
            "retries": 0, "timelimit": [None, None], "root_id": None, "parent_id": None, "eta": None}  # fmt: skip
    return envelope(body.encode(), fields | headers, queue=queue)


def kinds(rng: random.Random, sign: Path) -> dict[str, Iterator[bytes]]:
    """Messages for a queue of work, by their kind.

    Args:
        sign: a file that appears where one of them was executed.
    """
    return {"forged": forged(rng, sign), "malformed": malformed(rng), "hostile": hostile(sign)}


def forged(rng: random.Random, sign: Path) -> Iterator[bytes]:
    """Well-formed messages that name what does not exist, is no number, or is not this house's task."""
    hints: list[Any] = [rng.randrange(10**6), 0, -1, 2**63, 10**400, 1.5, True, None, "1", "request-1",
             "request-99999999", "request-", "'; DROP TABLE batches; --", [[]], {"id": 1}, "x" * 10_000]  # fmt: skip
    for name in (GENERATE, SCORE):
        for hint in hints:
            yield task(name, hint)
        yield task(name)
        yield task(name, *range(1000))
        yield task(name, kwargs={"hint": 1, "_runtime": None})
    yield task("os.system", f"touch {sign}")
    yield task("celery.starmap", kwargs={"task": {"task": GENERATE, "args": []}, "it": [[1], [2]]})
    yield task("celery.chord_unlock", "group", kwargs={"callback": {"task": GENERATE}, "result": []})
    far = "2999-01-01T00:00:00+00:00"
    odd: tuple[dict[str, Any], ...] = (
        {"eta": far}, {"eta": "never"}, {"expires": far}, {"expires": "x"}, {"retries": "many"}, {"shadow": {}},
        {"timelimit": [1, 1]}, {"timelimit": "x"}, {"id": 7}, {"id": None}, {"root_id": []},
        {"reply_to": "x" * 1000}, {"ignore_result": False}, {"compression": "rot13", "stamped_headers": 7, "group": []},
    )  # fmt: skip
    for headers in odd:
        yield task(GENERATE, 1, **headers)
    chained = {"task": SCORE, "args": [1], "kwargs": {}, "options": {}}
    for links in ({"callbacks": [chained]}, {"chain": [chained]}, {"chord": chained}, {"errbacks": [chained]}):
        body = json.dumps([[1], {}, links]).encode()
        yield envelope(body, {"task": GENERATE, "id": uuid.uuid4().hex})


def malformed(rng: random.Random) -> Iterator[bytes]:
    """What is no message at all, or lacks a part of one."""
    intact = json.loads(task(GENERATE, 1))
    yield from (b"", b"\x00", b"\xff\xfe", b"{", b"null", b"[]", b"7", b'"text"', b"{}", b'{"a": NaN}')
    yield from (b"[[1], {}, {}]", b'{"__type__": "uuid", "__value__": 7}', b'{"body":')
    yield json.dumps(intact).encode()[: rng.randrange(1, 300)]
    odd_values: tuple[Any, ...] = (None, 7, "x", [], {})
    for part in intact:
        yield json.dumps({name: value for name, value in intact.items() if name != part}).encode()
        for odd_value in odd_values:
            yield json.dumps(intact | {part: odd_value}).encode()
    for part in intact["properties"]:
        properties = {name: value for name, value in intact["properties"].items() if name != part}
        yield json.dumps(intact | {"properties": properties}).encode()
        yield json.dumps(intact | {"properties": properties | {part: {"odd": []}}}).encode()
    yield json.dumps(intact | {"properties": intact["properties"] | {"body_encoding": "rot13"}}).encode()
    for body in (b"\xff", b"{", b"null", b"[]", b"[1]", b"[[1]]", b"[1, 2, 3]", b'[[1], {}, "x"]', b"{}"):
        yield envelope(body, {"task": GENERATE, "id": "1"})
    for headers in ({"task": 7}, {"task": None, "id": "1"}, {"task": ["x"], "id": "1"}, {"task": GENERATE}):
        yield envelope(b"[[1], {}, {}]", headers)
    for kind in (None, [1], "application/x-msgpack"):
        yield envelope(b"[[1], {}, {}]", {"task": GENERATE, "id": "1"}, kind=kind)


def hostile(sign: Path) -> Iterator[bytes]:
    """Code in place of data, and data that is meant to break its reader."""
    headers = {"task": GENERATE, "id": uuid.uuid4().hex}
    pickled = pickle.dumps(Planted(sign))
    for kind in ("application/x-python-serialize", "pickle", "application/json", "application/data"):
        yield envelope(pickled, headers, kind=kind)
    yaml = f"!!python/object/apply:builtins.open [{str(sign)!r}, w]".encode()
    for kind in ("application/x-yaml", "yaml", "application/json"):
        yield envelope(yaml, headers, kind=kind)
    yield pickled
    yield b"[" * NESTED
    yield b'{"body":' * NESTED
    yield envelope(b"[" * NESTED + b"]" * NESTED, headers)
    yield task(GENERATE, "x" * HUGE_BYTES)
    yield envelope(b"[[" + b"9" * 100_000 + b"], {}, {}]", headers)
    for method in ("application/x-gzip", "gzip", "zlib"):
        yield envelope(_bomb(), headers | {"compression": method})


def commands(sign: Path) -> Iterator[bytes]:
    """Control messages that would end, starve or fool a worker, and what is no command."""
    methods: list[Any] = ["shutdown", "pool_shrink", "cancel_consumer", "rate_limit", "revoke", "time_limit", "ping",
                          "autoscale", "pool_restart", "add_consumer", "memdump", "os.system", 7, None]  # fmt: skip
    about = {"queue": "generate.demo", "n": 99, "task_name": GENERATE, "rate_limit": "1/d", "hard": 0.001}
    bodies: list[Any] = [{"method": method, "arguments": about, "destination": None} for method in methods]
    bodies += [
        {"method": "ping", "arguments": {"no": 1}},
        {"method": "ping", "arguments": [1], "reply_to": 7},
        {},
        [],
        7,
    ]
    for command in bodies:
        yield envelope(json.dumps(command).encode(), {})
    yield envelope(pickle.dumps(Planted(sign)), {}, kind="application/x-python-serialize")
    yield from (b"{", b"null", b"[" * NESTED, b"{}")


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Zeros, a thousandth of their size."""
    packer = zlib.compressobj(9)
    part = bytes(2**20)
    return b"".join([packer.compress(part) for _ in range(BOMB_BYTES // len(part))]) + packer.flush()
