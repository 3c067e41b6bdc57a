"""The local stack: one Redis and the workers of one home, kept by a daemon that outlives the command that started it.

Commands say what they want in `stack.json`, under a lock; the daemon makes it so. It decides to end under that same
lock, so that nobody joins a stack that is already leaving.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import psutil

from contract.errors import InkmillError, QueueUnreachable, UsageError
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY
from contract.settings import Settings, private_folder
from inkmill.redis_server import answers

START_SECONDS = 20.0
PYTHON = (sys.executable, "-P")  # never import from the working folder: it may hold a folder named like a room of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedWorker:
    """A worker that some command asked for."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    safety: tuple[str, ...] = ()
    failed: bool = False  # its model or classifier could not be loaded

    def covers(self, other: WantedWorker) -> bool:
        """Whether this worker does what the other one would."""
        same = (self.model, self.device, self.dtype) == (other.model, other.device, other.dtype)
        scores = set(self.safety or BUILT_IN_CLASSIFIERS)
        return same and not self.failed and set(other.safety) - {NO_SAFETY} <= scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that can be told apart from a later one with the same number."""

    pid: int
    born: float

    @classmethod
    def me(cls) -> Process:
        return cls(pid=os.getpid(), born=psutil.Process().create_time())

    def lives(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.born) < 1 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """What stack.json says."""

    database: str  # a hash of its URL: one stack works on one database
    daemon: Process | None = None
    workers: tuple[WantedWorker, ...] = ()
    pins: tuple[Process, ...] = field(default=())  # commands that need Redis for as long as they live

    @property
    def runs(self) -> bool:
        return self.daemon is not None and self.daemon.lives()


class Stack:
    """The stack of one home, as commands and its daemon see it."""

    def __init__(self, where: Settings) -> None:
        self.where = where
        self._file = where.home / "stack.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock under which the stack's state is read and changed."""
        private_folder(self.where.home)
        with os.fdopen(os.open(self.where.home / "stack.lock", os.O_CREAT | os.O_RDWR, 0o600), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> StackState:
        """The state as it stands; a file that is missing or broken counts as no stack."""
        try:
            return _state(orjson.loads(self._file.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            return StackState(database=self._database)

    def write(self, state: StackState) -> None:
        part = self._file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(asdict(state)))
        part.replace(self._file)

    def ensure(self, worker: WantedWorker | None = None, *, pin: bool = False) -> None:
        """Has the stack run, with that worker in it, and waits until its Redis answers.

        Args:
            pin: keep it running for as long as this process lives.

        Raises:
            UsageError: where the stack of this home works on another database.
            QueueUnreachable: where Redis does not come up.
        """
        with self.locked():
            state = self.read()
            if not state.runs:
                state = StackState(database=self._database)
            elif state.database != self._database:
                raise UsageError(
                    f"the stack in {self.where.home} works on another database; end it with 'inkmill stop', "
                    "or choose another INKMILL_HOME"
                )
            if worker is not None and not any(there.covers(worker) for there in state.workers):
                kept = tuple(there for there in state.workers if not replace(there, failed=False).covers(worker))
                state = replace(state, workers=(*kept, worker))
            if pin:
                state = replace(state, pins=(*(p for p in state.pins if p.lives()), Process.me()))
            if not state.runs:
                state = replace(state, daemon=self._spawn())
            self.write(state)
        self._wait_for_redis()

    def _wait_for_redis(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.where, 0.5):
            state = self.read()
            if not state.runs or time.monotonic() > deadline:
                raise QueueUnreachable(
                    f"the local Redis did not start; its log is {self.where.redis_folder / 'redis.log'}, "
                    f"the stack's is {self.log}"
                )

    @property
    def log(self) -> Path:
        return self.where.home / "logs" / "stack.log"

    @property
    def _database(self) -> str:
        return hashlib.sha256(self.where.sql_url.encode()).hexdigest()[:16]

    def _spawn(self) -> Process:
        private_folder(self.log.parent)
        with os.fdopen(os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as output:
            # A session of its own: Ctrl-C in the terminal does not reach it.
            process = subprocess.Popen(
                [*PYTHON, "-m", "inkmill.daemon"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | {"INKMILL_HOME": str(self.where.home)},
            )
        return Process(pid=process.pid, born=psutil.Process(process.pid).create_time())

    def stop(self) -> bool:
        """Ends the stack and waits until it is gone. Returns whether one ran."""
        with self.locked():
            state = self.read()
            if not state.runs or state.daemon is None:
                return False
            os.kill(state.daemon.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.where.grace_seconds + 15
        while state.daemon.lives():
            if time.monotonic() > deadline:
                raise InkmillError(f"the stack (process {state.daemon.pid}) does not end; see {self.log}")
            time.sleep(0.05)
        return True


def _state(raw: dict[str, Any]) -> StackState:
    return StackState(
        database=raw["database"],
        daemon=Process(**raw["daemon"]) if raw["daemon"] else None,
        workers=tuple(WantedWorker(**worker | {"safety": tuple(worker["safety"])}) for worker in raw["workers"]),
        pins=tuple(Process(**pin) for pin in raw["pins"]),
    )
