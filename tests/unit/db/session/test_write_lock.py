"""Waiting for SQLite's one write lock: as often asked for at the end as at first, and not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from contract.errors import DatabaseUnreachable
from db.session.engine import Database, open_database

COUNT = "UPDATE jobs SET name = name"


@pytest.fixture
def held(sqlite_url: str) -> Iterator[tuple[Database, threading.Event]]:
    """A database whose write lock somebody holds until the event is set."""
    database, other = open_database(sqlite_url), open_database(sqlite_url)
    holding, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with other.write():
            holding.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    yield database, let_go
    let_go.set()
    thread.join()
    database.close()
    other.close()


def test_a_writer_waits_for_the_one_before_it(held: tuple[Database, threading.Event]) -> None:
    database, let_go = held
    order: list[str] = []

    def release() -> None:
        time.sleep(0.3)
        order.append("released")
        let_go.set()

    threading.Thread(target=release).start()
    with database.write() as connection:
        order.append("written")
        connection.exec_driver_sql(COUNT)
    assert order == ["released", "written"]


def test_whoever_has_waited_long_asks_no_more_seldom_than_a_newcomer(
    held: tuple[Database, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own waiting asks ten times a second in the end, and newcomers overtake it."""
    database, let_go = held
    pauses: list[float] = []
    sleep, mine = time.sleep, threading.current_thread()

    def counted(seconds: float) -> None:
        if threading.current_thread() is mine:
            pauses.append(seconds)
        if len(pauses) == 30:
            let_go.set()
        sleep(seconds)

    monkeypatch.setattr("db.session.write_lock.time.sleep", counted)
    with database.write():
        pass
    assert len(pauses) >= 30
    assert max(pauses) <= 0.01


def test_a_lock_that_is_held_too_long_is_told_of_and_reading_goes_on(
    held: tuple[Database, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, let_go = held
    monkeypatch.setattr("db.session.write_lock.BUSY_SECONDS", 0.2)
    with pytest.raises(DatabaseUnreachable, match="locked"), database.write():
        pass
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
    let_go.set()
    monkeypatch.undo()
    with database.write() as connection:
        connection.exec_driver_sql(COUNT)
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
