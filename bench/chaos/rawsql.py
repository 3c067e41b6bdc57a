"""The program's tables, read with SQL of our own: nothing of `db/` is asked, so nothing of it is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote, unquote

try:
    # The library that the program writes with: older ones have a known fault with a WAL that starts anew.
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

Row = tuple[Any, ...]
CONNECT_SECONDS = 5


class RawSql:
    """A database that the program works on, asked from several threads. Its server may die between two calls."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: sqlite:///PATH or postgresql://…
        """
        self.url = url
        self._idle: list[Any] = []  # connections to a server: to make one costs both sides tens of milliseconds

    @property
    def sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of one SELECT, which marks its values with `?`.

        Raises:
            Exception: the driver's, where the database does not answer.
        """
        if self.sqlite:  # one that stays open would keep the WAL from being taken in when the last worker leaves
            with closing(self.connect()) as connection:
                return run(connection, statement, values)
        while self._idle:
            with suppress(Exception):  # the server died since
                return self._ask(self._idle.pop(), statement, values)
        return self._ask(self.connect(), statement, values)

    def _ask(self, connection: Any, statement: str, values: Sequence[Any]) -> list[Row]:
        try:
            rows = run(connection, statement, values)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return rows

    def close(self) -> None:
        """Ends the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    def execute(self, *statements: str) -> None:
        """Changes the database, in one transaction: only for what watches, never for what is watched."""
        with closing(self.connect(writable=True)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def connect(self, *, writable: bool = False) -> Any:
        """A connection for many queries; the caller closes it."""
        if self.sqlite:
            path = quote(unquote(self.url.removeprefix("sqlite:///")))
            mode = "rw" if writable else "ro"
            return sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=30)
        import psycopg

        connection = psycopg.connect(self.url, connect_timeout=CONNECT_SECONDS)
        connection.autocommit = not writable
        return connection


def run(connection: Any, statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """The rows of one SELECT on a connection of `RawSql.connect`."""
    marks = statement if "psycopg" not in type(connection).__module__ else statement.replace("?", "%s")
    return [tuple(row) for row in connection.execute(marks, tuple(values)).fetchall()]


def create_temporary_table(
    connection: Any, table: str, key: Mapping[str, str], columns: Mapping[str, str], rows: Iterable[Sequence[Any]]
) -> None:
    """Lays a temporary table beside those of the program, seen by this connection alone.

    Args:
        key: the columns that name a row, each with its type.
        columns: the other ones.
    """
    typed = ", ".join(f"{name} {kind}" for name, kind in {**key, **columns}.items())
    connection.execute(f"CREATE TEMPORARY TABLE {table} ({typed}, PRIMARY KEY ({', '.join(key)}))")
    if "psycopg" in type(connection).__module__:
        with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(f"ANALYZE {table}")
        return
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * (len(key) + len(columns)))})", rows)
    connection.commit()
