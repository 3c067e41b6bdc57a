"""The stack's daemon: keeps Redis and the wanted workers running, and ends when there is nothing left to do.

Started by `inkmill.stack`, never by hand. It holds no work itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import FrameType

import structlog

from contract.errors import DatabaseUnreachable, ExitCode
from contract.settings import Settings, settings
from db.session import Database, open_database
from db.status import snapshots
from inkmill.redis_server import answers, start_server
from inkmill.stack import PYTHON, Stack, StackState, WantedWorker

ROUND_SECONDS = 0.25
LOOK_SECONDS = 2.0
DEAF_SECONDS = 5.0
"""A Redis that refuses connections for this long has lost its socket, say, and is started anew."""
PR_SET_PDEATHSIG = 1
log = structlog.get_logger()


def _end_with_daemon() -> None:
    # A worker or a Redis without its daemon would be stopped by nobody.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Daemon:
    """The processes of one home's stack."""

    def __init__(self, where: Settings) -> None:
        self._where, self._stack = where, Stack(where)
        self._database: Database | None = None
        self._redis: subprocess.Popen[bytes] | None = None
        self._workers: dict[WantedWorker, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._busy_at = self._looked_at = self._redis_seen = time.monotonic()

    def run(self) -> int:
        """Runs until told to stop, or until nothing was left to do for a while."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._redis = start_server(self._where)
        while not self._stopping:
            with self._stack.locked():
                state = self._stack.read()
                if state.daemon is None or state.daemon.pid != os.getpid():
                    self._forsake_redis()
                    break
                self._stack.write(self._reconciled(state))
                if self._idle(state):
                    self._stack.write(replace(state, daemon=None, workers=(), pins=()))
                    break
            time.sleep(ROUND_SECONDS)
        self._end_all()
        return ExitCode.DONE

    def _forsake_redis(self) -> None:
        """The home was removed, and may be another daemon's by now: told to end, Redis would unlink *its* socket."""
        log.warning("this home is not this stack's any more; ending", home=str(self._where.home))
        if self._redis is not None:
            self._redis.kill()

    def _reconciled(self, state: StackState) -> StackState:
        self._tend_redis()
        workers = tuple(self._tended(worker) for worker in state.workers)
        return replace(state, workers=workers, pins=tuple(pin for pin in state.pins if pin.lives()))

    def _tend_redis(self) -> None:
        if self._redis is None or answers(self._where, 0):
            self._redis_seen = time.monotonic()
        elif self._redis.poll() is not None or time.monotonic() - self._redis_seen > DEAF_SECONDS:
            log.warning("Redis ended or went deaf; starting it again", status=self._redis.poll())
            self._redis.kill()
            self._redis.wait()
            self._redis = start_server(self._where)
            self._redis_seen = time.monotonic()

    def _tended(self, worker: WantedWorker) -> WantedWorker:
        if worker.failed:
            return worker
        process = self._workers.get(worker)
        if process is None:
            self._workers[worker] = self._start(worker)
            return worker
        status = process.poll()
        if status is None:
            return worker
        del self._workers[worker]
        if status == ExitCode.UNREACHABLE:
            log.error("a worker cannot load what it shall serve", model=worker.model, safety=worker.safety)
            return replace(worker, failed=True)
        log.warning("a worker ended; starting it again", status=status)
        return worker

    def _start(self, worker: WantedWorker) -> subprocess.Popen[bytes]:
        words = ["worker", "--in-stack", "--model", worker.model, "--device", worker.device, "--dtype", worker.dtype]
        for name in worker.safety:
            words += ["--safety", name]
        return subprocess.Popen(
            [*PYTHON, "-m", "inkmill", *words],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_daemon,  # this process has one thread
        )

    def _idle(self, state: StackState) -> bool:
        """Whether nobody needed this stack for long enough. Read under the lock that joiners take."""
        if time.monotonic() - self._looked_at < min(LOOK_SECONDS, self._where.idle_seconds / 4):
            return False
        self._looked_at = time.monotonic()
        if any(pin.lives() for pin in state.pins) or self._has_work(state):
            self._busy_at = self._looked_at
        return self._looked_at - self._busy_at > self._where.idle_seconds

    def _has_work(self, state: StackState) -> bool:
        serving = [worker for worker in state.workers if not worker.failed]
        try:
            if self._database is None:
                self._database = open_database(self._where.sql_url)
            unfinished = [job for job in snapshots(self._database) if not job.finished]
        except DatabaseUnreachable:
            return True  # nothing can be said of the work: stay
        for job in unfinished:
            if job.in_hand:
                return True
            generates = any(worker.model == job.model for worker in serving)
            scores = any(not worker.safety or job.safety in worker.safety for worker in serving)
            if (job.to_generate and generates) or (job.to_score and scores):
                return True
        return False

    def _end_all(self) -> None:
        for process in self._workers.values():
            process.terminate()
        for process in self._workers.values():
            _wait(process, self._where.grace_seconds + 5)
        if self._redis is not None:
            self._redis.terminate()
            _wait(self._redis, 10)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """The daemon's entry."""
    return Daemon(settings()).run()


if __name__ == "__main__":
    sys.exit(main())
