"""One run's installation: a home, real servers, and the `inkmill` command and workers started as a user starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.chaos.fault_injection import FaultInjector
from bench.chaos.inside.points import WORKER
from bench.chaos.ledger import Ledger
from bench.chaos.prompts import MODEL, SAFETY, PromptFile
from bench.chaos.rawsql import RawSql
from bench.chaos.servers import PostgresServer, RedisServer
from common.addresses import sqlite_url

ROOT = Path(__file__).parents[2]
INKMILL = [sys.executable, "-m", "inkmill"]
LEASE_SECONDS, SWEEP_SECONDS, GRACE_SECONDS = 2.0, 1.0, 15.0
READY_SECONDS = 180.0
COMMAND_SECONDS = 280.0
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")
"""The line that ends a traceback."""


@dataclass
class Worker:
    """An `inkmill worker` in a foreground of its own: a parent, and the child that holds the model."""

    parent: subprocess.Popen[bytes]
    log: Path
    faults: FaultInjector
    words: tuple[str, ...] = ()  # of its command, beside model and classifier
    _child: psutil.Process | None = None  # its child, the last time it was looked for: to look takes milliseconds

    @property
    def child(self) -> psutil.Process | None:
        """The process that holds the model, or is about to load it, where there is one now."""
        if not self.alive:
            return None
        if self._child is None or not is_running(self._child):
            self._child = None
            with suppress(psutil.NoSuchProcess):
                self._child = next(filter(is_running, psutil.Process(self.parent.pid).children()), None)
        return self._child

    def worker_id(self, process: psutil.Process) -> str | None:
        """The ID under which SQL knows its child; None if the child has not written it yet, or has ended."""
        file = self.faults.folder / f"{WORKER}.{process.pid}"
        try:
            # The process ID may be reused: what an earlier process wrote is not about this one.
            current = is_running(process) and file.stat().st_mtime > process.create_time() - 2
            return file.read_text() if current else None
        except (OSError, psutil.Error):
            return None

    @property
    def alive(self) -> bool:
        return self.parent.poll() is None


def is_running(process: psutil.Process) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@dataclass
class Stack:
    """What one run works on. `running_stack` makes one."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer | None  # None = SQLite
    sql: RawSql
    ledger: Ledger
    faults: FaultInjector
    environment: dict[str, str] = field(default_factory=dict)  # laid over that of every process started from now on
    workers: list[Worker] = field(default_factory=list)
    submits: int = 0

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("INKMILL_", "PYTHONPATH"))}
        own = {
            "INKMILL_HOME": str(self.folder / "home"),
            "INKMILL_REDIS_URL": self.redis.url,
            "INKMILL_DATABASE_URL": self.sql.url,
            "INKMILL_LEASE_SECONDS": str(LEASE_SECONDS),
            "INKMILL_SWEEP_SECONDS": str(SWEEP_SECONDS),
            "INKMILL_GRACE_SECONDS": str(GRACE_SECONDS),
            "INKMILL_CHAOS": str(self.faults.folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "bench" / "chaos" / "inside"), str(ROOT)]),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "passive",  # several workers share the cores
            "NO_COLOR": "1",
        }
        return clean | own | self.environment

    def inkmill(self, *words: str, code: int | None = 0, seconds: float = COMMAND_SECONDS) -> str:
        """Runs a command to its end. Returns what it printed.

        Raises:
            RuntimeError: it ended with another status than `code`; None = whichever.
            subprocess.TimeoutExpired: it did not end.
        """
        done = self.command(*words, seconds=seconds)
        if code is not None and done.returncode != code:
            raise RuntimeError(f"inkmill {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def command(self, *words: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, whatever that is.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        return subprocess.run(
            [*INKMILL, *words], env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=seconds
        )

    def submit(self, file: PromptFile, seed: int, *words: str) -> int:
        """Submits a file, and notes in the ledger what was acknowledged. Returns the job's id."""
        options = ["--model", MODEL, "--safety", SAFETY, "--seed", str(seed), "--again", *words]
        job = int(self.inkmill("submit", str(file.path), *options))
        self.ledger.acknowledge(job, file.outputs)
        self.submits += 1
        return job

    def start_worker(self, *words: str) -> Worker:
        """Starts a worker and does not wait for it."""
        log = self.folder / "logs" / f"worker-{len(list((self.folder / 'logs').iterdir()))}.log"
        with log.open("wb") as output:
            command = [*INKMILL, "worker", "--model", MODEL, "--safety", SAFETY, *words]
            parent = subprocess.Popen(
                command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        worker = Worker(parent, log, self.faults, words)
        self.workers.append(worker)
        return worker

    def ensure_workers(self, count: int) -> None:
        """Sees to it that so many workers' parents live: what a supervisor would do."""
        self.workers = [worker for worker in self.workers if worker.alive]
        for _ in range(count - len(self.workers)):
            self.start_worker()

    def wait_until_ready(self, count: int) -> None:
        """Waits until so many workers have loaded their model.

        Raises:
            RuntimeError: they do not come up.
        """
        deadline = time.monotonic() + READY_SECONDS
        while len(self.ready()) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers are not ready after {READY_SECONDS:.0f} s\n{self.logs()}")
            time.sleep(0.1)

    def ready(self) -> list[psutil.Process]:
        """The processes that hold a model and serve."""
        try:
            rows = self.sql.query("SELECT pid FROM workers WHERE state = ?", ["ready"])
        except Exception:
            return []
        pids = {pid for (pid,) in rows}
        children = [worker.child for worker in self.workers]
        return [child for child in children if child is not None and child.pid in pids]

    def children(self) -> set[int]:
        """The pids of the processes that hold a model."""
        return {child.pid for worker in self.workers if (child := worker.child) is not None}

    def status(self, job: int) -> dict[str, Any]:
        """What the program says of a job."""
        status: dict[str, Any] = json.loads(self.inkmill("status", str(job), "--json"))
        return status

    def jobs(self) -> dict[int, dict[str, Any]]:
        """What the program says of each job, as `status` would: one command instead of one for each."""
        jobs: list[dict[str, Any]] = json.loads(self.inkmill("jobs", "--json", "--limit", "1000000"))
        return {job["id"]: job for job in jobs}

    def processes(self) -> list[psutil.Process]:
        """Every process of this home but the servers."""
        processes, home = [], str(self.folder / "home")
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("INKMILL_HOME") == home:
                    processes.append(process)
        return processes

    def stop_workers(self) -> None:
        """Ends the workers in order, then whatever is left by force."""
        for worker in self.workers:
            child = worker.child
            if child is not None:
                with suppress(psutil.Error):
                    child.send_signal(signal.SIGCONT)
            worker.parent.terminate()
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.parent.wait(GRACE_SECONDS + 5)
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        for worker in self.workers:
            worker.parent.wait()
        self.workers = []

    def errors(self) -> Counter[str]:
        """What the workers' logs say of exceptions: the last line of each traceback, and how often it stands there."""
        errors: Counter[str] = Counter()
        for path in (self.folder / "logs").glob("*.log"):
            inside = False
            for line in path.read_text(errors="replace").splitlines():
                if inside and EXCEPTION.match(line):
                    errors[line[:200]] += 1
                inside = line.startswith("Traceback") or (inside and not EXCEPTION.match(line))
        return errors

    def leaked(self, secrets: Mapping[str, str]) -> list[str]:
        """Where a log of the workers or servers contains one of these secrets, by the name of the secret."""
        logs = [*(self.folder / "logs").glob("*.log"), self.redis.folder / "redis.log"]
        logs += [self.postgres.folder / "postgres.log"] if self.postgres is not None else []
        return [
            f"{path.name} contains {name}"
            for path in logs
            for text in (path.read_text(errors="replace"),)
            for name, secret in secrets.items()
            if secret in text
        ]

    def logs(self, characters: int = 3000) -> str:
        """The end of each worker's log."""
        files = sorted((self.folder / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)[-4:]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-characters:]}" for path in files)


@contextmanager
def running_stack(database: str, environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack whose servers run, with no worker yet; all of it is ended and removed afterwards.

    Args:
        database: sqlite or postgresql.
        environment: settings of the program for this run.
    """
    with tempfile.TemporaryDirectory(prefix="inkmill-chaos-") as name:
        folder = Path(name)
        for part in ("home", "logs"):
            (folder / part).mkdir(mode=0o700)
        postgres = PostgresServer() if database == "postgresql" else None
        redis = RedisServer(folder / "redis")
        url = sqlite_url(folder / "home" / "inkmill.db")
        stack = None
        try:
            redis.start()
            if postgres is not None:
                postgres.start()
                url = postgres.create("chaos")
            ledger, faults = Ledger(folder / "ledger"), FaultInjector(folder / "faults")
            stack = Stack(folder, redis, postgres, RawSql(url), ledger, faults, dict(environment or {}))
            yield stack
        finally:
            if stack is not None:
                stack.stop_workers()
                stack.sql.close()
            redis.stop()
            if postgres is not None:
                postgres.stop()
