"""A PostgreSQL that cannot be connected to: what was wrong is told, with what to do, and without the password."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from bench.chaos.proxy import SwallowingProxy
from contract.errors import DatabaseUnreachable
from db.session.engine import open_database
from tests.conftest import PostgresServer


@pytest.fixture
def tls_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    """What answers as PostgreSQL does as far as TLS goes: its certificate is shown before a password is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with contextlib.suppress(OSError), connection:
                        connection.recv(8)  # SSLRequest
                        connection.sendall(b"S")
                        with context.wrap_socket(connection, server_side=True) as safe:
                            safe.recv(4096)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def said_of(url: str) -> str:
    with pytest.raises(DatabaseUnreachable) as refused:
        open_database(url, timeout=2)
    assert "hunter2" not in str(refused.value) and "is it running" not in str(refused.value)
    return str(refused.value)


def test_what_goes_wrong_over_tls_is_told_as_such(tls_port: int, certificate: tuple[Path, Path]) -> None:
    url = f"postgresql://me:hunter2@127.0.0.1:{tls_port}/x?sslmode=verify-full"
    missing = said_of(f"{url}&sslrootcert=/nowhere/ca.pem")
    assert "/nowhere/ca.pem" in missing and "?sslrootcert=FILE" in missing
    other = certificate[0].with_name("other.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca", "-out", str(other),
         "-keyout", str(other.with_name("other-key.pem"))],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert "the server's certificate is not trusted" in said_of(f"{url}&sslrootcert={other}")
    mismatch = said_of(f"{url.replace('127.0.0.1', 'localhost')}&sslrootcert={certificate[0]}")
    assert "the server's certificate is for another host" in mismatch


def test_a_server_without_tls_that_is_asked_for_it_is_told_as_such(postgres_url: str) -> None:
    query = make_url(postgres_url).query
    with closing(SwallowingProxy(f"{query['host']}/.s.PGSQL.{query.get('port', 5432)}")) as proxy:
        url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, password="hunter2")
        url = url.difference_update_query(["host", "port"]).update_query_dict({"sslmode": "require"})
        assert "the server speaks no TLS" in said_of(url.render_as_string(hide_password=False))


def test_a_database_that_is_not_there_is_told_as_such(postgres_server: PostgresServer) -> None:
    said = said_of(postgres_server.url("nowhere"))
    assert 'database "nowhere" does not exist; create it on the server' in said


def test_a_wrong_password_is_told_as_such_with_what_to_encode(postgres_server: PostgresServer) -> None:
    rules = postgres_server.data / "pg_hba.conf"
    before = rules.read_text()
    postgres_server.execute("CREATE ROLE guarded LOGIN PASSWORD 'p@ss/word'")
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    try:
        postgres_server.execute("SELECT pg_reload_conf()")
        address = postgres_server.address.set(username="guarded", password="hunter2", database="postgres")
        said = said_of(address.render_as_string(hide_password=False))
        assert "user or password are wrong; in the URL, percent-encode" in said
    finally:
        rules.write_text(before)
        postgres_server.execute("SELECT pg_reload_conf()")
        postgres_server.execute("DROP ROLE guarded")
