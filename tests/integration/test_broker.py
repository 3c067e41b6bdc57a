"""What a worker lets in from a real Redis into which somebody puts more than messages of ours."""

from __future__ import annotations

import base64
import json
import logging
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.asynchronous import Hub
from kombu.common import ignore_errors
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer

from bench.chaos.forger import Forger
from bench.chaos.messages import envelope, kinds, task
from contract.queue import GENERATE, SCORE, make_app, request_hint, top_up
from contract.settings import Settings
from inkmill.local.redis_server import accepts_connections, start_server
from worker.supervise import message_filter
from worker.supervise.consumer import PatientConsumer

QUEUE = "generate.demo"


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, service_seconds=2)


@pytest.fixture(autouse=True)
def server(config: Settings) -> Iterator[subprocess.Popen[bytes]]:
    server = start_server(config)
    assert accepts_connections(config, 10)
    yield server
    server.kill()
    server.wait()


@pytest.fixture
def client(config: Settings) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(config.redis_socket), password=config.redis_password)


@pytest.fixture
def celery(config: Settings) -> Celery:
    return make_app(config)


def received(celery: Celery, queue: str) -> list[Any]:
    """The arguments of what a worker would be given, until nothing comes any more."""
    found: list[Any] = []

    def take(message: Any) -> None:
        found.append(message.decode())
        message.ack()

    with (
        message_filter.filtered(celery.connection_for_read()) as connection,
        connection.channel() as channel,
        Consumer(channel, [Queue(queue)], on_message=take),  # type: ignore[no-untyped-call]
        suppress(TimeoutError),
    ):
        while True:
            connection.drain_events(timeout=1)
    return [body[0] for body in found]


def unacknowledged(celery: Celery) -> tuple[Connection, Any]:
    """A connection with two channels, as a worker's, and a message that came on it and is not acknowledged yet."""
    top_up(QUEUE, [41], celery)
    found: list[Any] = []
    connection = message_filter.filtered(celery.connection_for_read())
    for queue, channel in ((QUEUE, connection.default_channel), ("score.demo", connection.channel())):
        Consumer(channel, [Queue(queue)], on_message=found.append).consume()  # type: ignore[no-untyped-call]
    connection.drain_events(timeout=5)
    assert len(found) == 1
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    assert connection.default_channel._in_poll, "it should have asked for another message"
    return connection, found[0]


def test_redis_keeps_no_copy_of_a_received_message(celery: Celery, client: redis.Redis) -> None:
    connection, _ = unacknowledged(celery)
    assert not client.keys("unacked*")
    connection.close()
    assert received(celery, QUEUE) == []


def test_lost_connections_leave_nothing_in_the_event_loop(celery: Celery) -> None:
    consumer, hub = object.__new__(PatientConsumer), Hub()
    consumer.app, consumer.hub, consumer.controller = celery, hub, None
    for _ in range(3):
        connection = consumer.connection_for_read()
        connection.register_with_event_loop(hub)
        connection.close()
    assert len(hub.on_tick) == 1


def test_a_redis_that_dies_with_a_hint_unacknowledged_does_not_end_its_reader(
    celery: Celery, server: subprocess.Popen[bytes]
) -> None:
    connection, message = unacknowledged(celery)
    server.kill()
    server.wait()
    # What Celery's consumer does with a connection that is lost, and with a task that starts then.
    with suppress(*connection.connection_errors):
        connection.collect(socket_timeout=0.1)
    ignore_errors(connection, connection.close)
    assert not connection.connected
    message.ack_log_error(logging.getLogger("test"), connection.connection_errors)


def is_hint(what: object) -> bool:
    return what in ("request-1", "request-99999999") or (type(what) is int and 0 < what < 2**63)


@pytest.mark.parametrize("kind", ["malformed", "hostile", "forged"])
def test_only_hints_get_through_and_nothing_ends_the_reader(
    celery: Celery, client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    sign = tmp_path / "executed"
    top_up(QUEUE, [41], celery)
    forger = Forger(client, sign)
    pushed = forger.push(QUEUE, kinds(random.Random(5), sign)[kind])
    assert pushed > 10
    top_up(QUEUE, range(1, 99), celery)
    arguments = received(celery, QUEUE)
    assert [41] in arguments
    assert all(len(one) == 1 and is_hint(one[0]) for one in arguments)
    assert not client.llen(QUEUE)
    assert not sign.exists()


def test_only_harmless_control_commands_pass_and_without_arguments() -> None:
    mailbox = "inkmill-7@here.celery.pidbox"

    def sent(**said: Any) -> dict[str, Any] | None:
        fresh = message_filter.sanitized(json.loads(envelope(json.dumps(said).encode(), {"clock": "x"})), mailbox)
        return None if fresh is None else json.loads(base64.b64decode(fresh["body"]))

    for method in ("shutdown", "pool_restart", "cancel_consumer", "revoke", "hello", "memdump", "objgraph", 7, None):
        assert sent(method=method, arguments={}) is None
    to = {"exchange": "reply.celery.pidbox", "routing_key": "r"}
    asked = sent(method="active", arguments={"safe": 1}, pattern="(a+)+$", matcher="pcre", reply_to=to, ticket="t")
    assert asked == {"method": "active", "arguments": {}, "destination": None, "reply_to": to, "ticket": "t"}


def test_a_hint_is_taken_only_from_a_message_of_the_queues_own_task() -> None:
    def arguments(raw: bytes, queue: str) -> list[Any] | None:
        fresh = message_filter.sanitized(json.loads(raw), queue)
        return None if fresh is None else json.loads(base64.b64decode(fresh["body"]))[0]

    assert arguments(task(GENERATE, 7, eta="2999-01-01", id=None), QUEUE) == [7]
    assert arguments(task(SCORE, request_hint(7)), "score.demo") == ["request-7"]
    assert arguments(task(SCORE, 7), QUEUE) is None
    assert arguments(task(GENERATE, True), QUEUE) is None
    assert arguments(task(GENERATE, "request-7; x"), QUEUE) is None
