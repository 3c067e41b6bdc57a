"""Where we reach into a library's own parts: each place is here, and a version that moved them fails here first.

What these parts do for us is tested with real servers elsewhere. This says which of them an upgrade took away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from celery.worker.consumer import Consumer
from kombu.transport import redis
from kombu.transport.virtual import base
from psycopg import errors

SEAMS: list[tuple[Callable[..., Any], list[str]]] = [
    (psycopg.Connection.wait, ["self", "gen", "interval", "timeout"]),  # db.session.keepalive
    (Consumer.connection_for_read, ["self", "heartbeat"]),  # worker.supervise.consumer
    (Consumer.ensure_connected, ["self", "conn"]),
    (redis.Channel._brpop_read, ["self", "options"]),  # worker.supervise.message_filter
    (redis.Channel._receive_one, ["self", "c"]),
    (base.Transport._deliver, ["self", "message", "queue"]),
]


@pytest.mark.parametrize(("function", "parameters"), SEAMS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_a_function_that_we_stand_in_for_takes_what_it_took(
    function: Callable[..., Any], parameters: list[str]
) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_the_names_that_we_read_or_set_are_there() -> None:
    assert issubclass(errors._WaitTimeout, Exception)  # type: ignore[attr-defined]
    assert {"ack_emulation", "do_restore"} <= {name for kind in redis.Channel.__mro__ for name in vars(kind)}
    assert redis.Transport.Channel is redis.Channel


def test_psycopg_waits_for_its_server_through_the_method_that_we_replace() -> None:
    """A version that waited elsewhere would leave our `wait` unused, and a silent server unnoticed."""
    assert "self._conn.wait(" in inspect.getsource(psycopg.Cursor.execute)
