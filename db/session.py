"""Opening the database: one object that gives read and write transactions, and puts the tables in order first.

SQLite and PostgreSQL differ here and in `ingest`, hardly anywhere else.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Double, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from contract.errors import DatabaseUnreachable, UsageError
from db.migrations import HEAD

BUSY_SECONDS = 30
"""How long a writer waits for SQLite's one write lock; no transaction of ours holds it for a second."""

_WAITABLE = re.compile(r"locked|busy|unable to open|disk|readonly|read-only|full|I/O", re.IGNORECASE)
"""What SQLite says of a database that is away for now; the same exception stands for errors in a statement."""


class now(FunctionElement[float]):
    """Seconds since the epoch by the database's clock, the same for every process and machine."""

    type = Double()
    inherit_cache = True
    name = "now"


@compiles(now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def sqlite_module() -> Any:
    """The SQLite driver: pysqlite3's recent library where its wheel exists, else Python's own."""
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        return sqlite3
    return dbapi2


class Database:
    """An open database."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = make_url(url)
        self.engine = engine

    def __repr__(self) -> str:
        return f"Database({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, for people: a file's path, or a URL without its password."""
        return self.url.database or "" if self.sqlite else self.url.render_as_string(hide_password=True)

    @property
    def sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @cached_property
    def _writer(self) -> Engine:
        return self.engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Raises:
            DatabaseUnreachable: where the database does not answer.
        """
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it holds the write lock from its first statement.

        Raises:
            DatabaseUnreachable: where the database does not answer.
        """
        with self._translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if self.sqlite and not _WAITABLE.search(str(error.orig)):
                raise  # a fault of ours, which no waiting mends
            raise DatabaseUnreachable(f"the database {self.address} does not answer: {_cause(error)}") from error

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str, *, timeout: float = 10.0) -> Database:
    """Opens `url` (sqlite:///PATH or postgresql+psycopg://…), creating and migrating what is missing.

    Args:
        timeout: seconds that connecting may take.

    Raises:
        DatabaseUnreachable: where it does not answer.
        UsageError: where the URL cannot be used.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except Exception:
        raise UsageError("INKMILL_DATABASE_URL: is not a database URL; use sqlite:///PATH or postgresql://…") from None
    if backend == "sqlite":
        database = Database(url, _sqlite_engine(parsed.database or "", url))
    elif backend == "postgresql":
        database = Database(url, _postgresql_engine(url, timeout))
    else:
        raise UsageError(f"INKMILL_DATABASE_URL: {backend} is not served here; use sqlite:///PATH or postgresql://…")
    _migrate(database)
    return database


def _sqlite_engine(path: str, url: str) -> Engine:
    if not path or path == ":memory:":
        raise UsageError("INKMILL_DATABASE_URL: an SQLite database must be a file, several processes share it")
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Texts are private: the file belongs to its owner alone before anything is in it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseUnreachable(f"the database {path} cannot be opened: {error.strerror}") from None
    engine = create_engine(url, module=sqlite_module(), connect_args={"timeout": BUSY_SECONDS}, **_json_options())
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _enter_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-65536", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _enter_wal(connection: Any) -> None:
    # Switching a new file to WAL does not wait for other openers by itself.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                return
        except sqlite_module().OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql_engine(url: str, timeout: float) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        # A server that accepts and then never answers must not hold a command for ever.
        connect_args={
            "connect_timeout": max(2, int(timeout)),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int(3000 * timeout),
        },
        **_json_options(),
    )


def _json_options() -> dict[str, Any]:
    return {"json_serializer": lambda value: orjson.dumps(value).decode(), "json_deserializer": orjson.loads}


def _migrate(database: Database) -> None:
    if _version(database) == HEAD:
        return
    from db.migrations.apply import (
        upgrade,
    )  # Alembic takes a while to import: only where there is work for it

    with database.write() as connection:
        if not database.sqlite:  # SQLite's write lock is held already
            connection.execute(text("SELECT pg_advisory_xact_lock(4994651)"))
        upgrade(connection)


def _version(database: Database) -> str | None:
    try:
        with database.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except ProgrammingError:  # PostgreSQL: no such table yet
        return None
    except OperationalError as error:
        if "no such table" in str(error):
            return None
        raise DatabaseUnreachable(
            f"the database {database.address} cannot be reached: {_cause(error)}; "
            "is it running, and is INKMILL_DATABASE_URL right?"
        ) from error


def _cause(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig else str(error)
