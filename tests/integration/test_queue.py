"""The queue on a real Redis: how many messages lie in it, what is in them, and what happens when it is away."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from contract.errors import QueueUnreachable
from contract.queue import generate_queue, make_app, redis_info, score_queue, top_up
from contract.settings import Settings
from inkmill.local.redis_server import accepts_connections, start_server


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, service_seconds=2)


@pytest.fixture
def celery(config: Settings) -> Iterator[Celery]:
    server = start_server(config)
    assert accepts_connections(config, 10)
    yield make_app(config)
    server.kill()
    server.wait()


def messages(config: Settings, queue: str) -> list[Any]:
    client = redis.Redis(unix_socket_path=str(config.redis_socket), password=config.redis_password)
    return [json.loads(raw) for raw in client.lrange(queue, 0, -1)]  # type: ignore[union-attr]


def test_a_queue_gets_as_many_messages_as_batches_wait_and_no_more(celery: Celery, config: Settings) -> None:
    assert top_up("generate.demo", range(1, 11), celery) == 10
    assert top_up("generate.demo", range(1, 11), celery) == 0
    assert top_up("generate.demo", range(1, 13), celery) == 2
    assert len(messages(config, "generate.demo")) == 12


def test_a_queue_holds_at_most_64_messages_however_much_waits(celery: Celery, config: Settings) -> None:
    assert top_up("generate.demo", range(1, 100_000), celery) == 64
    assert top_up("generate.demo", range(1, 100_000), celery) == 0


def test_a_message_holds_a_batch_id_and_nothing_else(celery: Celery, config: Settings) -> None:
    top_up("score.demo", [41], celery)
    (message,) = messages(config, "score.demo")
    assert message["content-type"] == "application/json"
    arguments, keywords, _ = json.loads(b64decode(message["body"]))
    assert (arguments, keywords) == ([41], {})
    assert message["headers"]["task"] == "inkmill.score"
    assert message["headers"]["eta"] is None


def test_if_nothing_waits_redis_is_not_contacted(config: Settings) -> None:
    assert top_up("generate.demo", [], make_app(config)) == 0


def test_an_unreachable_redis_is_reported_quickly_and_without_its_password() -> None:
    app = make_app(Settings(redis_url="redis://:secret@127.0.0.1:1/0", service_seconds=2))
    started = time.monotonic()
    with pytest.raises(QueueUnreachable) as refused:
        top_up("generate.demo", [1], app)
    assert time.monotonic() - started < 5
    assert "127.0.0.1" in str(refused.value)
    assert "secret" not in str(refused.value)


def heard(certificate: tuple[Path, Path], url: str) -> tuple[str, bytes]:
    """What is said of a server with that certificate, and what it was sent. PORT in `url` is its port."""
    sent = bytearray()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as safe:
                        sent.extend(safe.recv(4096))

        threading.Thread(target=answer, daemon=True).start()
        config = Settings(redis_url=url.replace("PORT", str(server.getsockname()[1])), service_seconds=2)
        with pytest.raises(QueueUnreachable) as refused:
            redis_info(make_app(config))
    return str(refused.value), bytes(sent)


def test_a_redis_with_an_untrusted_certificate_is_sent_no_password(certificate: tuple[Path, Path]) -> None:
    said, sent = heard(certificate, "rediss://:hunter2@127.0.0.1:PORT/0")
    assert "certificate verify failed" in said
    assert sent == b""


def test_a_certificate_trusted_by_the_url_is_accepted(certificate: tuple[Path, Path]) -> None:
    _, sent = heard(certificate, f"rediss://:hunter2@127.0.0.1:PORT/0?ssl_ca_certs={certificate[0]}")
    assert b"hunter2" in sent


@pytest.fixture
def tls_redis(certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port of a Redis that speaks TLS only, with the password hunter2."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--bind",
        "127.0.0.1",
        "127.0.0.2",
        "--save",
        "",
        "--requirepass",
        "hunter2",
    ]
    words += ["--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1])]
    words += ["--tls-ca-cert-file", str(certificate[0]), "--tls-auth-clients", "no"]
    server = subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.05)
    if server.poll() is not None:
        pytest.skip("this redis-server was built without TLS")
    yield port
    server.kill()
    server.wait()


def said_of(url: str) -> str:
    with pytest.raises(QueueUnreachable) as refused:
        redis_info(make_app(Settings(redis_url=url, service_seconds=2)))
    assert "hunter2" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("check", ["CERT_REQUIRED", "required", "CERT_OPTIONAL", "CERT_NONE", "none"])
def test_a_redis_over_tls_answers_with_each_of_celerys_spellings(
    tls_redis: int, certificate: tuple[Path, Path], check: str
) -> None:
    trusted = "" if "none" in check.lower() else f"&ssl_ca_certs={certificate[0]}"
    url = f"rediss://:hunter2@127.0.0.1:{tls_redis}/0?ssl_cert_reqs={check}{trusted}"
    app = make_app(Settings(redis_url=url, service_seconds=5))
    assert redis_info(app)["redis_version"]
    assert top_up("generate.demo", [1], app) == 1


def test_what_goes_wrong_over_tls_is_told_as_such(tls_redis: int, certificate: tuple[Path, Path]) -> None:
    where, trusted = f"127.0.0.1:{tls_redis}/0", f"ssl_ca_certs={certificate[0]}"
    untrusted = said_of(f"rediss://:hunter2@{where}")
    assert "a certificate that is not trusted" in untrusted and "?ssl_ca_certs=FILE" in untrusted
    missing = said_of(f"rediss://:hunter2@{where}?ssl_ca_certs=/nowhere/ca.pem")
    assert "ssl_ca_certs names /nowhere/ca.pem, and there is no such file" in missing
    key = certificate[1]  # in PEM, and no certificate
    assert "ssl_ca_certs, ssl_certfile, ssl_keyfile" in said_of(f"rediss://:hunter2@{where}?ssl_ca_certs={key}")
    assert "rejects the password" in said_of(f"rediss://:wrong@{where}?{trusted}")
    assert "rejects the password" in said_of(f"rediss://{where}?{trusted}")
    other = said_of(f"rediss://:hunter2@{where.replace('127.0.0.1', '127.0.0.2')}?{trusted}")
    assert "a certificate for another host" in other
    assert "rediss://" in said_of(f"redis://:hunter2@{where}")


def test_a_server_without_tls_that_is_asked_for_it_is_told_as_such(config: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    connection.recv(4096)
                    connection.sendall(b"-ERR unknown command\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert "speaks no TLS on that port" in said_of(f"rediss://:hunter2@127.0.0.1:{server.getsockname()[1]}/0")


@pytest.mark.parametrize("form", ["unix://:PASSWORD@PATH?db=0", "redis+socket://:PASSWORD@PATH", "socket://:PASSWORD@PATH",
                                  "unix://PATH?password=PASSWORD"])  # fmt: skip
def test_a_socket_is_reached_however_it_is_spelt(celery: Celery, config: Settings, form: str) -> None:
    url = form.replace("PASSWORD", config.redis_password).replace("PATH", str(config.redis_socket))
    assert redis_info(make_app(Settings(redis_url=url, service_seconds=2)))["redis_version"]


def test_no_variable_of_celerys_leads_to_another_redis(
    celery: Celery, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    app = make_app(config)
    assert redis_info(app)["redis_version"]
    assert app.connection_for_read().as_uri() == app.connection_for_write().as_uri() == app.connection().as_uri()


def test_whoever_waits_for_a_silent_redis_is_told(
    config: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("common.long_waits.QUIET_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}/0"
        said_of(f"redis://:hunter2@{where}")
    assert f"inkmill: waiting for Redis at redis://:**@{where}" in capsys.readouterr().err


def test_only_the_owner_can_reach_the_embedded_redis(celery: Celery, config: Settings) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(unix_socket_path=str(config.redis_socket)).ping()
    assert config.redis_socket.stat().st_mode & 0o077 == 0
    assert (config.redis_folder / "redis.conf").stat().st_mode & 0o077 == 0
    assert redis_info(celery)["redis_version"]


def test_a_home_with_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    config = Settings(home=tmp_path / ("long" * 30))
    assert len(str(config.redis_socket)) < 100
    server = start_server(config)
    try:
        assert accepts_connections(config, 10)
        assert config.redis_socket.parent.stat().st_mode & 0o077 == 0
    finally:
        server.terminate()
        server.wait(10)
        config.redis_socket.parent.rmdir()


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "/a/path with spaces/ü", "x" * 300])
def test_every_model_has_a_queue_of_its_own_with_a_plain_name(name: str) -> None:
    queue = generate_queue(name)
    assert queue.startswith("generate.")
    assert queue.isascii()
    assert len(queue) < 100
    assert queue != generate_queue(name + "2")
    assert score_queue(name) != queue


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"short"])
def test_a_password_lost_from_its_file_is_restored_from_the_running_server(
    celery: Celery, config: Settings, content: bytes
) -> None:
    file, before = config.redis_folder / "password", config.redis_password
    file.write_bytes(content)
    redis_info(make_app(config))  # a new process reaches the old server
    assert file.read_text() == before
    assert top_up("generate.demo", range(1, 4), make_app(config)) == 3


def test_two_processes_that_start_at_once_agree_on_one_password(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        drawn = set(pool.map(lambda _: Settings(home=tmp_path).redis_password, range(64)))
    assert len(drawn) == 1
