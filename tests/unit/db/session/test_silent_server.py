"""A PostgreSQL server that takes what it is sent and never answers, behind a proxy that swallows bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import make_url, text

from bench.chaos.proxy import SwallowingProxy
from contract.errors import DatabaseUnreachable
from db.session.engine import Database, open_database

TIMEOUT = 2.0
LIMIT = 4 * TIMEOUT + 4
"""Half of it until the silence is noticed, the rest for two more attempts to connect, on a busy machine."""


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[SwallowingProxy]:
    query = make_url(postgres_url).query
    with closing(SwallowingProxy(f"{query['host']}/.s.PGSQL.{query.get('port', 5432)}")) as proxy:
        yield proxy


@pytest.fixture
def through(postgres_url: str, proxy: SwallowingProxy) -> Iterator[Database]:
    """The database by way of the proxy, with a connection that is open already."""
    url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port).difference_update_query(["host", "port"])
    database = open_database(url.render_as_string(hide_password=False), timeout=TIMEOUT)
    assert answer(database) == 1
    yield database
    database.close()


def answer(database: Database, statement: str = "SELECT 1") -> object:
    with database.read() as connection:
        return connection.scalar(text(statement))


def answer_after(database: Database, happens: Callable[[], None]) -> object:
    """In one transaction: something happens between two statements."""
    with database.write() as connection:
        connection.execute(text("SELECT 1"))
        happens()
        return connection.scalar(text("SELECT 2"))


def test_a_statement_that_a_silent_server_swallows_does_not_hang(through: Database, proxy: SwallowingProxy) -> None:
    start = time.monotonic()
    with pytest.raises(DatabaseUnreachable):
        answer_after(through, proxy.swallow)
    assert time.monotonic() - start < LIMIT
    proxy.let_through()
    assert answer(through) == 1


def test_a_connection_that_stays_dead_is_given_up_while_others_work(through: Database, proxy: SwallowingProxy) -> None:
    start = time.monotonic()
    with pytest.raises(DatabaseUnreachable):
        answer_after(through, proxy.break_all)
    assert time.monotonic() - start < LIMIT
    assert answer(through) == 1


def test_a_statement_that_takes_its_time_is_waited_for(through: Database) -> None:
    assert answer(through, f"SELECT 7 FROM (SELECT pg_sleep({2 * TIMEOUT})) AS slept") == 7
