"""SQLite: its driver, its file, its write-ahead log, and how a transaction begins."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from contract.errors import DatabaseUnreachable, UsageError
from contract.settings import private_folder
from db.session.options import json_options
from db.session.write_lock import BUSY_SECONDS, begin_writing


def sqlite_module() -> Any:
    """The SQLite driver: pysqlite3's recent library where its wheel exists, else Python's own."""
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        return sqlite3
    return dbapi2


def sqlite_engine(path: str) -> Engine:
    """An engine for the database in that file, which is created if it is missing.

    Raises:
        UsageError: the path is not that of a file.
        DatabaseUnreachable: the file cannot be opened or written.
    """
    if not path or path == ":memory:" or path.startswith("file:"):
        raise UsageError("INKMILL_DATABASE_URL: an SQLite database must be a file, because several processes share it; "
                         "use sqlite:///PATH")  # fmt: skip
    try:
        private_folder(Path(path).absolute().parent)
        _create_private(path)
    except OSError as error:
        raise DatabaseUnreachable(f"the database {path} cannot be opened: {error.strerror}") from None
    for needed in (Path(path), Path(path).absolute().parent):  # SQLite keeps two more files beside it
        if not os.access(needed, os.W_OK):
            raise DatabaseUnreachable(
                f"the database {path} cannot be opened: you may not write to {needed}; "
                f"become its owner (chown {os.getuid()} {shlex.quote(str(needed))}), or name another database in "
                "INKMILL_DATABASE_URL"
            )
    url = URL.create("sqlite", database=path)
    engine = create_engine(url, module=sqlite_module(), connect_args={"timeout": BUSY_SECONDS}, **json_options())
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


_creation_lock = threading.Lock()


def _create_private(path: str) -> None:
    """Texts are private: the file belongs to its owner alone before anything is in it."""
    # A file that exists is never opened here: closing it would drop the locks that this process holds on it.
    with _creation_lock:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if Path(path).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None


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
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite_module().OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        if mode != "wal":
            raise DatabaseUnreachable(
                "the SQLite database is on a file system that cannot hold its WAL, such as a network file system; "
                "move it to a local disk, or use postgresql://…"
            )
        return


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    driver: Any = connection.connection.driver_connection
    if options.get("migrates"):
        driver.execute("PRAGMA foreign_keys=OFF")  # inside a transaction it would do nothing
    if options.get("writes"):
        begin_writing(driver)
    else:
        connection.exec_driver_sql("BEGIN")
