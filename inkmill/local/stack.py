"""The local stack: one Redis and the workers of one home, run by a daemon that outlives the command that started it.

Commands write what they want to `stack.json`, under a lock; the daemon makes it so. It decides to exit under that same
lock, so that no command joins a stack that is shutting down.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

import orjson

from common.file_holders import describe_holders
from common.long_waits import told_when_long
from common.processes import Process
from contract.errors import InkmillError, QueueUnreachable, UsageError
from contract.settings import Settings, private_folder
from contract.waiting.stack_state import StackState, WantedWorker, read_state
from inkmill.local.redis_server import accepts_connections, require_binary

START_SECONDS = 20.0
PYTHON = (sys.executable, "-P")  # never import from the working folder: it may hold a folder named like a room of ours


class Stack:
    """The stack of one home, as commands and its daemon see it."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self._file = config.home / "stack.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock under which the stack's state is read and changed. Creates nothing.

        Raises:
            FileNotFoundError: the home is gone.
        """
        with _flock(self.config.home / "stack.lock", os.O_RDWR):
            yield

    @contextmanager
    def as_only_daemon(self) -> Iterator[Callable[[], bool]]:
        """Waits until no other daemon runs a Redis in this home, and then keeps others out.

        Yields a function that says whether it still does: a home may be removed and recreated by another stack.
        """
        path = self.config.home / "daemon.lock"
        with _flock(path, os.O_CREAT | os.O_RDWR) as lock:
            inode = os.fstat(lock.fileno()).st_ino
            yield lambda: path.exists() and path.stat().st_ino == inode

    def _make_lock(self) -> None:
        private_folder(self.config.home)
        os.close(os.open(self.config.home / "stack.lock", os.O_CREAT | os.O_RDWR, 0o600))

    def read(self) -> StackState:
        """The current state; a missing or broken file counts as no stack."""
        return read_state(self.config.home) or StackState(database=self._database)

    def write(self, state: StackState) -> None:
        """Replaces the state, if it has changed.

        Raises:
            OSError: it cannot be written; the old one stays.
        """
        if self._file.exists() and state == self.read():
            return
        part = self._file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(asdict(state)))
        part.replace(self._file)

    def ensure_running(self, worker: WantedWorker | None = None, *, pin: bool = False) -> None:
        """Starts the stack if needed, with that worker in it, and waits until its Redis answers.

        Args:
            pin: keep it running for as long as this process lives.

        Raises:
            UsageError: the stack of this home works on another database.
            QueueUnreachable: Redis does not come up.
        """
        require_binary()
        self._make_lock()
        with self.locked():
            state = self.read()
            if not state.runs:
                state = StackState(database=self._database, address=self.config.sql_address)
            elif state.database != self._database:
                raise UsageError(
                    f"the stack in {self.config.home} works on the database {state.address}, but this command on "
                    f"{self.config.sql_address}; stop it with 'inkmill stop', or choose another INKMILL_HOME"
                )
            if worker is not None and not (state.serves(worker) or (not worker.model and state.trains(worker.device))):
                # A worker that could not load gets another chance: the cause may have been fixed.
                loadable = tuple(other for other in state.workers if not other.failed)
                state = replace(state, workers=(*loadable, worker))
            if pin:
                others = (pinned for pinned in state.pins if pinned.lives() and pinned.pid != os.getpid())
                state = replace(state, pins=(*others, Process.me()))
            if not state.runs:
                state = replace(state, daemon=self._spawn())
            self.write(state)
        self._wait_for_redis()

    def _wait_for_redis(self) -> None:
        with told_when_long(lambda: f"the local Redis to start; its log is {self.config.redis_folder / 'redis.log'}"):
            self._until_redis_accepts()

    def _until_redis_accepts(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not accepts_connections(self.config, 0.5):
            state = self.read()
            if not state.runs or time.monotonic() > deadline:
                reason = f" ({state.redis_down})" if state.redis_down else ""
                raise QueueUnreachable(
                    f"the local Redis did not start{reason}; see its log, {self.config.redis_folder / 'redis.log'}, "
                    f"and the stack's, {self.log}"
                )

    @property
    def log(self) -> Path:
        return self.config.home / "logs" / "stack.log"

    @property
    def _database(self) -> str:
        return hashlib.sha256(self.config.sql_url.encode()).hexdigest()[:16]

    def _spawn(self) -> Process:
        private_folder(self.log.parent)
        with os.fdopen(os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as output:
            # A session of its own: Ctrl-C in the terminal does not reach it.
            process = subprocess.Popen(
                [*PYTHON, "-m", "inkmill.local.daemon"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | {"INKMILL_HOME": str(self.config.home)},
            )
        return Process.of(process.pid)

    def stop(self) -> bool:
        """Stops the stack and the foreground workers that use it, and waits until they are gone.

        Returns:
            Whether there was one.

        Raises:
            InkmillError: it does not stop in time.
        """
        try:
            with self.locked():
                state = self.read()
                if not state.runs:
                    return False
                # From here on nobody joins it: the next command starts another one, which waits its turn.
                self.write(StackState(database=state.database, stopped=True))
        except FileNotFoundError:
            return False
        leaving = [process for process in (state.daemon, *state.pins) if process is not None and process.lives()]
        for process in leaving:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        with told_when_long(lambda: f"{_living(leaving)} to end; a worker finishes what it is writing first"):
            self._until_gone(leaving)
        return True

    def _until_gone(self, leaving: list[Process]) -> None:
        deadline = time.monotonic() + self.config.grace_seconds + 15
        while any(process.lives() for process in leaving):
            if time.monotonic() > deadline:
                raise InkmillError(f"the stack does not stop ({_living(leaving)}); see {self.log}")
            time.sleep(0.05)


def _living(processes: list[Process]) -> str:
    """Those that still live, by number."""
    numbers = [str(process.pid) for process in processes if process.lives()]
    return f"{'process' if len(numbers) == 1 else 'processes'} {', '.join(numbers)}"


@contextmanager
def _flock(path: Path, flags: int) -> Iterator[IO[str]]:
    with os.fdopen(os.open(path, flags, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with told_when_long(lambda: f"{path}, which is locked {describe_holders(path)}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
