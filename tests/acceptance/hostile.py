"""Messages that nobody of ours sent: pickle, YAML, bombs, wrong types, nests, halves of envelopes."""

from __future__ import annotations

import json
import pickle
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from contract.queue import GENERATE

CONTROL = "celery.pidbox"


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


def envelope(
    body: bytes | str, kind: object = "application/json", headers: object = None, properties: object = None
) -> dict[str, Any]:
    """A message as kombu lays it into a list of Redis."""
    plain = {"lang": "py", "task": GENERATE, "id": "0", "eta": None, "expires": None, "retries": 0}
    ours = {
        "body_encoding": "base64",
        "delivery_tag": "0",
        "delivery_info": {"exchange": "", "routing_key": "generate.demo"},
        "priority": 0,
    }
    return {
        "body": b64encode(body).decode() if isinstance(body, bytes) else body,
        "content-encoding": "utf-8",
        "content-type": kind,
        "headers": plain | headers if isinstance(headers, dict) else (headers or plain),
        "properties": ours | properties if isinstance(properties, dict) else (properties or ours),
    }


def _said(value: object) -> bytes:
    return json.dumps(value).encode()


def hostile_messages(trace: Path) -> list[bytes]:
    """For a queue of work. Those that could run something would make the file `trace`."""
    hint = _said([[1], {}, {}])
    shell = f"!!python/object/apply:os.system ['touch {trace}']".encode()
    after = [{"task": "os.system", "args": [f"touch {trace}"], "kwargs": {}, "options": {}, "immutable": True}]
    without_properties = {name: value for name, value in envelope(hint).items() if name != "properties"}
    odd: list[Any] = [
        envelope(pickle.dumps(([Trap(trace)], {}, {})), "application/x-python-serialize"),
        envelope(pickle.dumps(Trap(trace)), "application/data"),
        envelope(shell, "application/x-yaml"),
        envelope(b"\x93\x91\x01\x80\x80", "application/x-msgpack"),
        envelope(hint, None),
        envelope(hint, [1]),
        envelope(zlib.compress(b"[" + b" " * (64 << 20) + b"]"), headers={"compression": "application/x-gzip"}),
        envelope(b"[" * 100_000 + b"]" * 100_000),
        envelope(_said(["x" * (8 << 20)])),
        *(envelope(_said(value)) for value in ([], {}, "x", None, 7, [{}], [None], ["x"], [[], {"hint": 1}, {}])),
        *(envelope(_said([[value], {}, {}])) for value in (10**400, -5, 0, True, 1.5, "7", "request-", {"a": 1}, [[]])),
        envelope(_said([list(range(1000)), {}, {}])),
        envelope(_said([[1], {}, {"callbacks": after, "errbacks": after, "chain": after, "chord": after[0]}])),
        *(envelope(hint, headers={"task": name}) for name in ("os.system", "celery.chord", "", None, [1])),
        envelope(hint, headers={"eta": "2099-01-01T00:00:00"}),
        envelope(hint, headers={"eta": [], "expires": "soon", "timelimit": [1, 2, 3], "retries": "x"}),
        envelope(hint, headers={"compression": "rot13", "stamped_headers": 7, "group": [], "root_id": {}}),
        envelope(hint, headers=[1]),
        envelope(hint, properties=[1]),
        envelope(hint, properties={"delivery_tag": [1], "delivery_info": 7}),
        envelope(hint.decode(), properties={"body_encoding": "rot13"}),
        envelope("not base64"),
        without_properties,
        [1, 2],
        7,
        None,
        {"__type__": "uuid", "__value__": 7},
        {},
    ]
    raw = [b"", b"\xff\xfe\0", b"not json", b'{"body":', b"[" * 200_000, pickle.dumps(Trap(trace))]
    return [*map(_said, odd), *raw]


def hostile_control(trace: Path) -> list[bytes]:
    """For the channel that every worker listens to: commands that would end, starve or fool it."""
    commands = [
        *({"method": name, "arguments": {}} for name in ("shutdown", "pool_shrink", "pool_restart", "os.system")),
        {"method": "cancel_consumer", "arguments": {"queue": "generate.demo"}},
        {"method": "add_consumer", "arguments": {"queue": "evil"}},
        {"method": "rate_limit", "arguments": {"task_name": GENERATE, "rate_limit": "1/d"}},
        {"method": "time_limit", "arguments": {"task_name": GENERATE, "hard": 0.001}},
        {"method": "ping", "arguments": {"no": 1}},
        {"method": "ping", "arguments": [1], "reply_to": 7},
        {"method": [1]},
        {},
        [],
        7,
    ]
    odd: list[Any] = [*(envelope(_said(command)) for command in commands), [1], 7, {}, {"body": "x"}]
    pickled = envelope(pickle.dumps(Trap(trace)), "application/x-python-serialize")
    return [*map(_said, [*odd, pickled]), b"not json", b"\xff\xfe", b"[" * 200_000]
