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


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that nobody signed but its owner, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
    return files


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
