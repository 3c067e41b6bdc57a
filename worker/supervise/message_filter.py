"""What this worker lets in from Redis: of a message nothing but its hint, of a control message nothing but a question.

Anyone who reaches Redis may put anything into it. So a message is read here first, and what goes on to Celery is a new
one, made of a batch's id or a score request's name; everything else is dropped.
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

from contract.queue import GENERATE, REQUEST_HINT, SCORE

LONGEST_MESSAGE = 65_536
"""Characters of a message's body. An honest one has a hundred."""
QUIET_SECONDS = 60.0
"""What was dropped is told of at most this often: a log must not be filled from outside."""
MAILBOX = ".celery.pidbox"
"""How the queues of control messages end."""
QUESTIONS = frozenset(("ping", "active", "active_queues", "registered", "reserved", "scheduled"))
"""Control messages that change nothing and tell no settings: Celery's `stats` says Redis' address, password and all.
No other may pass, as anyone who reaches Redis can send them."""
Message = dict[str, Any]
log = structlog.get_logger()


def wary(connection: Any) -> Any:
    """A connection to Redis that reads its messages like that.

    Told to the connection: a scheme's transport is remembered from its first use in a process, so that one put in its
    place may come too late.
    """
    connection.transport_cls = "worker.supervise.message_filter:WaryTransport"
    return connection


class _Dropped:
    """Tells of dropped messages, now and then."""

    def __init__(self) -> None:
        self._count, self._told_at = 0, -QUIET_SECONDS

    def one(self, why: str) -> None:
        self._count += 1
        if time.monotonic() - self._told_at >= QUIET_SECONDS:
            log.warning("dropped what is no message of ours", why=why, messages=self._count)
            self._count, self._told_at = 0, time.monotonic()


dropped = _Dropped()


def _wary(read: Callable[..., Any]) -> Callable[..., Any]:
    """What cannot even be parsed is dropped, where kombu would end the process."""

    def reading(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            dropped.one(f"{type(error).__name__}: {error}"[:200])
            raise Empty from None

    return reading


class WaryChannel(redis.Channel):
    """A channel that survives what it reads, and keeps no copy of it in Redis.

    kombu would write each message to Redis a second time until it is acknowledged. It was a hint only, and the next
    sweep makes another; nobody may trust what lies there, so that nobody would take it up again; and where Redis dies
    in between, kombu asks a connection that was given up for its address, over which the process ends.
    """

    ack_emulation = do_restore = False
    _brpop_read = _wary(redis.Channel._brpop_read)
    _receive_one = _wary(redis.Channel._receive_one)


class WaryTransport(redis.Transport):
    """Hands on what this worker lets in."""

    Channel = WaryChannel

    def _deliver(self, message: object, queue: str) -> None:
        _deliver(super()._deliver, message, queue)


def _deliver(deliver: Callable[[Message, str], None], message: object, queue: str) -> None:
    fresh = let_in(message, queue)
    if fresh is None:
        dropped.one("not of the form that this program writes")
    else:
        deliver(fresh, queue)


def let_in(message: object, queue: str) -> Message | None:
    """A new message with what may be taken from this one; None where that is nothing."""
    body = _body(message)
    if queue.endswith(MAILBOX):
        return _question(body)
    task = GENERATE if queue.startswith("generate.") else SCORE
    match body:
        case [[hint], {}, *_] if _named(message, task) and _is_hint(hint):
            return _message([[hint], {}, None], {"task": task, "id": uuid.uuid4().hex}, queue)
    return None


def _is_hint(hint: object) -> bool:
    if isinstance(hint, str):
        return REQUEST_HINT.fullmatch(hint) is not None
    return isinstance(hint, int) and not isinstance(hint, bool) and 0 < hint < 2**63


def _named(message: object, task: str) -> bool:
    match message:
        case {"headers": {"task": str(name)}}:
            return name == task
    return False


def _body(message: object) -> object:
    """The body's JSON; None where it is something else, compressed, or too long."""
    match message:
        case {"body": str(body), "content-type": "application/json", "properties": {"body_encoding": "base64"}}:
            if len(body) > LONGEST_MESSAGE:
                return None
            try:
                return json.loads(base64.b64decode(body, validate=True))
            except (ValueError, RecursionError):
                return None
    return None


def _question(body: object) -> Message | None:
    """A control message that only asks, as `celery inspect` sends it, without its arguments."""
    match body:
        case {"method": str(method), **rest} if method in QUESTIONS:
            asking: Message = {"method": method, "arguments": {}, "destination": _names(rest.get("destination"))}
            match rest:
                case {"reply_to": {"exchange": str(exchange), "routing_key": str(key)}, "ticket": str(ticket)}:
                    asking |= {"reply_to": {"exchange": exchange, "routing_key": key}, "ticket": ticket}
            return _message(asking, {}, "")
    return None


def _names(said: object) -> list[str] | None:
    return [name for name in said if isinstance(name, str)] if isinstance(said, list) else None


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
