"""What a worker takes out of Redis, into which whoever knows its password may put anything.

Of a message only the task's name and the id are taken, and the message is made anew from these two: serializers,
compressions, dates, callbacks and headers of a stranger are never acted upon. What is no hint is dropped: SQL is the
truth, and the sweeper fills the queue again.
"""

from __future__ import annotations

import binascii
import re
import threading
import time
import uuid
from base64 import b64decode, b64encode
from typing import Any

import orjson
import structlog
from kombu.transport.redis import Channel, Transport

from contract.queue import GENERATE, SCORE

MOST_CHARACTERS = 10_000
"""A longer body is not even decoded: ours have some 150 characters."""
QUIET_SECONDS = 60.0
"""Dropped messages are told of at most this often: a flood of them must not fill the disk with logs."""

_REQUEST = re.compile(r"request-[1-9][0-9]{0,18}", re.ASCII)
log = structlog.get_logger()


class NoHint(ValueError):
    """A message that is none of ours, and why."""


def made_anew(message: object, queue: str) -> dict[str, Any]:
    """The message that we would have sent for the hint in `message`.

    Raises:
        NoHint: there is none in it.
    """
    task, hint = _read(message)
    return {
        "body": b64encode(orjson.dumps([[hint], {}, {}])).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": str(uuid.uuid4())},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
        },
    }


def _read(message: object) -> tuple[str, int | str]:
    if not isinstance(message, dict) or not isinstance(message.get("headers"), dict):
        raise NoHint("it has no headers")
    task, kind, body = message["headers"].get("task"), message.get("content-type"), message.get("body")
    if task not in (GENERATE, SCORE):
        raise NoHint("it names no task of ours")
    if kind != "application/json":
        raise NoHint("it is not JSON")
    if not isinstance(body, str) or len(body) > MOST_CHARACTERS:
        raise NoHint("its body is no text, or a long one")
    return task, _hint(body)


def _hint(body: str) -> int | str:
    try:
        said = orjson.loads(b64decode(body, validate=True))
    except (binascii.Error, ValueError):
        raise NoHint("its body cannot be read") from None
    arguments = said[0] if isinstance(said, list) and said else None
    hint = arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else None
    if type(hint) is int and 0 < hint < 2**63:
        return hint
    if type(hint) is str and _REQUEST.fullmatch(hint):
        return hint
    raise NoHint("it holds no id")


class _Dropped:
    """Counts what was dropped, and tells of it now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count, self._told_at = 0, float("-inf")

    def tell(self, why: str) -> None:
        with self._lock:
            self._count += 1
            if time.monotonic() - self._told_at < QUIET_SECONDS:
                return
            count, self._count, self._told_at = self._count, 0, time.monotonic()
        log.warning("messages in Redis that are none of ours were dropped", count=count, the_last=why)


_dropped = _Dropped()


class HintChannel(Channel):
    """A channel that no message can end, whatever is in it: an exception here would end the whole worker."""

    def _brpop_read(self, **options: Any) -> Any:
        read: Any = super()._brpop_read  # untyped
        try:
            return read(**options)
        except self.connection_errors:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            # Not even an envelope.
            _dropped.tell(f"it cannot be read ({type(error).__name__})")
            return True


class HintTransport(Transport):
    """kombu's Redis transport, which delivers hints made anew to the queues of work."""

    Channel = HintChannel

    def _deliver(self, message: object, queue: str) -> None:
        deliver: Any = super()._deliver  # untyped
        if queue.startswith(("generate.", "score.")):
            try:
                message = made_anew(message, queue)
            except NoHint as why:
                _dropped.tell(str(why))
                return
            deliver(message, queue)
            return
        try:  # a control message, which nobody can keep from being odd
            deliver(message, queue)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            _dropped.tell(f"a control message cannot be read ({type(error).__name__})")
