"""Opening the database: one object that gives read and write transactions, and puts the tables in order first.

How SQLite and PostgreSQL are spoken to is for `sqlite` and `postgresql` to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import URL, Connection, Double, Engine, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from common.addresses import ENCODE, read_database_url
from common.long_waits import told_when_long
from contract.errors import DatabaseUnreachable, InkmillError, UsageError
from db.migrations import HEAD
from db.session.postgres_probe import check_rights, check_server
from db.session.postgresql import postgresql_engine
from db.session.sqlite import sqlite_engine
from db.session.write_lock import describe_lock, lock_holders

SHOWN_PARAMETERS = ("host", "port", "dbname", "sslmode")
"""The parameters of a URL that are known to hold no secret."""
NO_SUCH_TABLE = "42P01"
READ_ONLY = "25006"
FORBIDDEN = "42501"
"""PostgreSQL's codes for these (Appendix A of its manual). A server is read-only while another is taking over."""

REMEDY = "is it running, and is INKMILL_DATABASE_URL right?"
REMEDIES = (
    ("database is locked", "end what holds it, or wait until it has finished"),
    ("root certificate file", "name the certificate of the authority that signed the server's in the URL: "
     "?sslrootcert=FILE, or sslrootcert=system for those this machine trusts"),
    ("certificate verify failed", "the server's certificate is not trusted; name the certificate of the authority that "
     "signed it in the URL: ?sslrootcert=FILE"),
    ("does not match host name", "the server's certificate is for another host; use the host in its certificate"),
    ("server does not support SSL", "the server speaks no TLS; leave sslmode out of the URL, or have it use TLS"),
    ("certificate file", "the URL names a file for TLS that cannot be used: sslcert, sslkey or sslrootcert"),
    ("private key file", "the URL names a file for TLS that cannot be used: sslcert, sslkey or sslrootcert"),
    ("no pg_hba.conf entry", "allow this machine and user in the server's pg_hba.conf, or connect as it demands"),
    ("password authentication failed", f"user or password are wrong; in the URL, {ENCODE}"),
    ("no password supplied", "give one in the URL: postgresql://USER:PASSWORD@HOST/NAME"),
    ("does not exist", "create it on the server, or name another one in INKMILL_DATABASE_URL"),
)  # fmt: skip
"""What to do, by words of libpq's that cannot mean anything else."""

_OUTAGE = re.compile(r"locked|locking|busy|unable to open|is full|readonly|read-only|I/O error", re.IGNORECASE)
"""What SQLite says of a database that is unreachable for now; it raises the same class for errors in a statement."""


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


class Database:
    """An open database."""

    def __init__(self, url: str | URL, engine: Engine) -> None:
        self.url = make_url(url)
        self.engine = engine

    def __repr__(self) -> str:
        return f"Database({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, for people: a file's path, or a URL without its password."""
        if self.sqlite:
            return self.url.database or ""
        shown = {name: value for name, value in self.url.query.items() if name in SHOWN_PARAMETERS}
        return self.url.set(query=shown).render_as_string(hide_password=True)

    @property
    def sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @cached_property
    def _reader(self) -> Engine:
        # SQLite's transactions read one state by themselves.
        return self.engine if self.sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")

    @cached_property
    def _writer(self) -> Engine:
        return self.engine.execution_options(writes=True)

    @cached_property
    def _outage_errors(self) -> tuple[type[Exception], ...]:
        # The driver's own errors too: a COPY speaks to the driver directly.
        driver: Any = self.engine.dialect.loaded_dbapi
        return (OperationalError, InterfaceError, PoolTimeout, driver.OperationalError, driver.InterfaceError)

    @cached_property
    def _driver_errors(self) -> tuple[type[Exception], ...]:
        driver: Any = self.engine.dialect.loaded_dbapi
        return (DBAPIError, PoolTimeout, driver.Error)

    @contextmanager
    def read(self, *, unhurried: bool = False) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Args:
            unhurried: the caller may pause between rows as long as it likes, as an export stopped with Ctrl-Z.

        Raises:
            DatabaseUnreachable: where the database does not answer.
        """
        with self._translating_errors(), self._reader.begin() as connection:
            if unhurried and not self.sqlite:
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it holds the write lock from its first statement.

        Raises:
            DatabaseUnreachable: where the database does not answer.
        """
        with self._translating_errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """A transaction that may replace whole tables. SQLite enforces no foreign keys in it, only in connections that
        are made afterwards.

        Raises:
            DatabaseUnreachable: where the database does not answer.
        """
        with self._translating_errors():
            try:
                with self.engine.execution_options(writes=True, migrates=True).begin() as connection:
                    yield connection
            finally:
                self.engine.dispose()

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver_errors as error:
            _keep_first_line(error)
            if _read_only(error):
                self.engine.dispose()  # a connection may stay read-only for as long as it lasts: new ones are made
            if not self._is_outage(error):
                raise  # our own bug: waiting would not help
            raise DatabaseUnreachable(
                f"the database {self.address} does not answer: {self._described(error)}"
            ) from error

    def _described(self, error: Exception) -> str:
        cause = _cause(error)
        holders = lock_holders(self.address) if self.sqlite and "locked" in cause else ""
        return f"{cause} {holders}".rstrip()

    def _is_outage(self, error: Exception) -> bool:
        if _read_only(error):
            return True
        if not isinstance(error, self._outage_errors):
            return isinstance(error, DBAPIError) and error.connection_invalidated  # the server ended the connection
        return not self.sqlite or _OUTAGE.search(_cause(error)) is not None

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
    parsed = _read_url(url)
    if parsed.get_backend_name() == "sqlite":
        database = Database(parsed, sqlite_engine(parsed.database or ""))
    else:
        database = Database(parsed, postgresql_engine(parsed, timeout))
    try:
        with told_when_long(lambda: _waited_for(database)):
            _check(database, check_server)
            _migrate(database)
            _check(database, check_rights)
    except (DBAPIError, InkmillError) as error:
        database.close()
        if isinstance(error, InkmillError):
            raise
        raise DatabaseUnreachable(
            f"the database {database.address} cannot be opened: {database._described(error)}; "
            f"{_remedy(database, error)}"
        ) from error
    return database


def _waited_for(database: Database) -> str:
    if not database.sqlite:
        return f"the database {database.address}, which has not answered yet"
    return describe_lock(database.address)


def _check(database: Database, check: Callable[[Connection, str], None]) -> None:
    if not database.sqlite:
        with database.engine.connect() as connection:
            check(connection, database.address)


def _remedy(database: Database, error: Exception) -> str:
    if getattr(getattr(error, "orig", None), "sqlstate", None) != FORBIDDEN:
        return _connecting_remedy(str(error))
    role = database.url.username or "ROLE"
    return (
        f"the role that first opens it creates its tables: GRANT USAGE, CREATE ON SCHEMA public TO {role}; "
        "or open it once as another role, and have that role grant this one access"
    )


def _connecting_remedy(said: str) -> str:
    """What to do about a connection that failed, by what libpq said of it."""
    return next((remedy for words, remedy in REMEDIES if words in said), REMEDY)


def _read_url(url: str) -> URL:
    try:
        address = read_database_url(url)
    except ValueError as error:
        raise UsageError(f"INKMILL_DATABASE_URL: {error}") from None
    # The folder of a Unix socket as the host, which libpq's own URLs have, is a parameter of the driver's.
    socket = {"host": address.host} if address.host.startswith("/") else {}
    return URL.create(
        "sqlite" if address.sqlite else "postgresql+psycopg",
        username=address.user,
        password=address.password,
        host=None if socket else address.host or None,
        port=address.port,
        database=address.path or None,
        query=socket | dict(address.query),
    )


def _migrate(database: Database) -> None:
    if _version(database) == HEAD:
        return
    # Alembic takes a while to import: only if there is work for it.
    from db.migrations.apply import upgrade

    with database.migrate() as connection:
        if not database.sqlite:  # SQLite's write lock is held already
            connection.execute(text("SELECT pg_advisory_xact_lock(4994651)"))
            # A long reader, such as a large export, would hold this up, and this would hold up everybody else.
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        upgrade(connection)


def _version(database: Database) -> str | None:
    try:
        with database.engine.connect() as connection:
            version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DatabaseError as error:
        if "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == NO_SUCH_TABLE:
            return None
        raise
    return version


def _read_only(error: Exception) -> bool:
    return getattr(getattr(error, "orig", error), "sqlstate", None) == READ_ONLY


def _keep_first_line(error: Exception) -> None:
    """Keeps the first line of an error: PostgreSQL's others quote the row, and its texts do not belong in a log."""
    for each in (error, getattr(error, "orig", None)):
        if each is not None and each.args:
            lines = str(each.args[0]).strip().splitlines()
            each.args = (lines[0] if lines else type(each).__name__, *each.args[1:])


def _cause(error: Exception) -> str:
    """The first line of the driver's message."""
    message = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return message.splitlines()[0] if message else type(error).__name__
