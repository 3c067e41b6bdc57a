"""What this worker accepts from Redis: the hint in a message, and control commands that only ask.

Anyone who reaches Redis can put anything into it. So each message is read here first, and Celery gets a new one, made
from nothing but the ID of a batch or a tuning, or a score request's name; everything else is dropped.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from kombu.transport import redis
from kombu.transport.virtual import Empty

from contract.queue import REQUEST_HINT, task_of

MAX_BODY_CHARACTERS = 65_536
"""A genuine one has about a hundred."""
REPORT_SECONDS = 60.0
"""Dropped messages are logged at most this often, so that an outsider cannot fill the log."""
CONTROL_QUEUE_SUFFIX = ".celery.pidbox"
"""How the names of the queues of control messages end."""
HARMLESS_COMMANDS = frozenset(("ping", "active", "active_queues", "registered", "reserved", "scheduled"))
"""Control commands that change nothing and reveal no settings, unlike Celery's `stats`, which reveals the password of
Redis. No other may pass, since anyone who reaches Redis can send them."""
Message = dict[str, Any]
log = structlog.get_logger()


def filtered(connection: Any) -> Any:
    """A connection to Redis that filters what it reads.

    The transport is set on the connection because kombu caches the one of each URL scheme at its first use in a
    process, so replacing it there may come too late.
    """
    connection.transport_cls = "worker.supervise.message_filter:FilteringTransport"
    return connection


class _DropReport:
    """Logs how many messages were dropped, now and then."""

    def __init__(self) -> None:
        self._count, self._reported_at = 0, -REPORT_SECONDS

    def count(self, reason: str) -> None:
        self._count += 1
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            log.warning("dropped messages that are not ours", reason=reason, messages=self._count)
            self._count, self._reported_at = 0, time.monotonic()


dropped = _DropReport()


def _dropping_unreadable(read: Callable[..., Any]) -> Callable[..., Any]:
    """Drops what cannot even be parsed; kombu would end the process over it."""

    def read_or_drop(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            dropped.count(f"{type(error).__name__}: {error}"[:200])
            raise Empty from None

    return read_or_drop


class FilteringChannel(redis.Channel):
    """A channel that survives what it reads, and keeps no copy of it in Redis.

    kombu would write each message to Redis a second time until it is acknowledged. A hint is not worth that: the next
    sweep sends another, and a copy in Redis could not be trusted anyway. And if Redis dies in between, kombu asks a
    connection that was given up for its address, which ends the process.
    """

    ack_emulation = do_restore = False
    _brpop_read = _dropping_unreadable(redis.Channel._brpop_read)
    _receive_one = _dropping_unreadable(redis.Channel._receive_one)


class FilteringTransport(redis.Transport):
    """Delivers only what this worker accepts."""

    Channel = FilteringChannel

    def _deliver(self, message: object, queue: str) -> None:
        _deliver(super()._deliver, message, queue)


def _deliver(deliver: Callable[[Message, str], None], message: object, queue: str) -> None:
    accepted = sanitized(message, queue)
    if accepted is None:
        dropped.count("not as this program writes them")
    else:
        deliver(accepted, queue)


def sanitized(message: object, queue: str) -> Message | None:
    """A new message made of what is acceptable in this one; None if nothing is."""
    body = _body(message)
    if queue.endswith(CONTROL_QUEUE_SUFFIX):
        return _harmless_command(body)
    task = task_of(queue)
    match body:
        case [[hint], {}, *_] if _is_for_task(message, task) and _is_hint(hint):
            return _message([[hint], {}, None], {"task": task, "id": uuid.uuid4().hex}, queue)
    return None


def _is_hint(hint: object) -> bool:
    if isinstance(hint, str):
        return REQUEST_HINT.fullmatch(hint) is not None
    return isinstance(hint, int) and not isinstance(hint, bool) and 0 < hint < 2**63


def _is_for_task(message: object, task: str) -> bool:
    match message:
        case {"headers": {"task": str(name)}}:
            return name == task
    return False


def _body(message: object) -> object:
    """The body's JSON; None if it is something else, compressed, or too long."""
    match message:
        case {"body": str(body), "content-type": "application/json", "properties": {"body_encoding": "base64"}}:
            if len(body) > MAX_BODY_CHARACTERS:
                return None
            try:
                return json.loads(base64.b64decode(body, validate=True))
            except (ValueError, RecursionError):
                return None
    return None


def _harmless_command(body: object) -> Message | None:
    """A control command that only asks, as `celery inspect` sends it, without its arguments."""
    match body:
        case {"method": str(method), **rest} if method in HARMLESS_COMMANDS:
            command: Message = {"method": method, "arguments": {}, "destination": _strings(rest.get("destination"))}
            match rest:
                case {"reply_to": {"exchange": str(exchange), "routing_key": str(key)}, "ticket": str(ticket)}:
                    command |= {"reply_to": {"exchange": exchange, "routing_key": key}, "ticket": ticket}
            return _message(command, {}, "")
    return None


def _strings(value: object) -> list[str] | None:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else None


def _message(body: Any, headers: Message, queue: str) -> Message:
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    return {
        "body": encoded,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": uuid.uuid4().hex,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
        },
    }
