"""Waiting for SQLite's one write lock: as often asked for at the end as at first, and not for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

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


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits says so after a fifth of a second, and gives up after a second."""
    for room in ("common.long_waits", "db.session.write_lock", "db.session.keepalive"):
        monkeypatch.setattr(f"{room}.QUIET_SECONDS", 0.2)
    for room in ("db.session.write_lock", "db.session.sqlite"):
        monkeypatch.setattr(f"{room}.BUSY_SECONDS", 1)
    monkeypatch.setattr("common.long_waits._last", "")


def other_program(path: str, first: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLD, path, first]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None and program.stdout.readline() == "held\n"
    return program


def test_a_writer_that_waits_for_another_program_names_it_once(
    sqlite_url: str, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    database = open_database(sqlite_url)
    program = other_program(database.address, "SELECT 1")
    who = f"{database.address}, which is locked by process {program.pid} ("
    try:
        with pytest.raises(DatabaseUnreachable, match=f"locked by process {program.pid} "), database.write():
            pass
        assert capsys.readouterr().err.count(f"inkmill: waiting for the database {who}") == 1
    finally:
        program.kill()
        program.communicate()
    with database.write():
        pass
    assert capsys.readouterr().err == ""
    database.close()


def test_opening_a_database_that_another_program_has_for_itself_names_it(
    sqlite_url: str, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    open_database(sqlite_url).close()
    path = sqlite_url.removeprefix("sqlite:///")
    program = other_program(path, "PRAGMA locking_mode=EXCLUSIVE")
    try:
        with pytest.raises(DatabaseUnreachable, match=f"locked by process {program.pid} "):
            open_database(sqlite_url)
    finally:
        program.kill()
        program.communicate()
    assert f"waiting for the database {path}, which is locked by process {program.pid} (" in capsys.readouterr().err


def test_a_writer_that_waits_for_a_lock_on_a_server_names_its_process(
    postgres_url: str, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    database, other = open_database(postgres_url), open_database(postgres_url)
    with other.write() as holding:
        holding.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        pid = holding.scalar(text("SELECT pg_backend_pid()"))
        threading.Timer(1.5, holding.rollback).start()
        with database.write() as connection:
            connection.exec_driver_sql(COUNT)
    assert capsys.readouterr().err.count(f"its process {pid} (") == 1
    database.close()
    other.close()
