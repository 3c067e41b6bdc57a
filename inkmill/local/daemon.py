"""The stack's daemon: keeps Redis and the wanted workers running, and exits when there is nothing left to do.

Started by `inkmill.local.stack`, never by hand. It does no work itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

import structlog

from common.processes import end_with_parent, leave
from contract.errors import ExitCode, InkmillError
from contract.policy import BUILT_IN_CLASSIFIERS
from contract.settings import Settings, settings
from contract.spec import JobStatus, TuningStatus
from contract.tunings.folder import is_here
from contract.waiting.stack_state import StackState, WantedWorker
from db.jobs.jobs import unfinished_jobs
from db.jobs.status import JobSnapshot, snapshot
from db.session.engine import Database, open_database
from db.tuning.tunings import StoredTuning, unfinished_tunings
from db.work.request_claims import open_requests
from inkmill.local.log_files import rotate
from inkmill.local.redis_keeper import RedisKeeper
from inkmill.local.stack import PYTHON, Stack
from worker.supervise.logs import configure

ROUND_SECONDS = 0.25
LOOK_SECONDS = 2.0
RESTART_SECONDS = 2.0
log = structlog.get_logger()


class Daemon:
    """The processes of one home's stack."""

    def __init__(self, config: Settings) -> None:
        self._config, self._stack = config, Stack(config)
        self._database: Database | None = None
        self._redis = RedisKeeper(config)
        self._workers: dict[WantedWorker, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._not_before: dict[WantedWorker, float] = {}  # when a worker that exited may be restarted
        self._busy_at = self._looked_at = time.monotonic()

    def run(self) -> int:
        """Runs until told to stop, or until nothing was left to do for a while."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with self._stack.as_only_daemon() as still_mine:
            self._run_until_idle()
            for process in self._workers.values():
                process.terminate()
            self._redis.stop(gently=still_mine())
        # Another stack may start now; only workers that finish their batches are left here.
        for process in self._workers.values():
            _wait(process, self._config.grace_seconds + 5)
        return ExitCode.DONE

    def _run_until_idle(self) -> None:
        while not self._stopping:
            self._check_use()
            try:
                with self._stack.locked():
                    state = self._stack.read()
                    if state.daemon is None or state.daemon.pid != os.getpid():
                        return  # it was stopped
                    self._stack.write(self._reconciled(state))
                    if self._idle_for() > self._config.idle_seconds and not self._has_work(state):
                        self._stack.write(StackState(database=state.database))
                        return
            except FileNotFoundError:
                log.warning("this home is gone; exiting", home=str(self._config.home))
                return
            except OSError as error:
                log.warning("cannot maintain the stack; trying again", error=str(error))  # a full disk, for example
            time.sleep(ROUND_SECONDS)

    def _reconciled(self, state: StackState) -> StackState:
        self._redis.tend()
        workers = tuple(self._tended(worker) for worker in state.workers)
        pins = tuple(pin for pin in state.pins if pin.lives())
        return replace(state, workers=workers, pins=pins, redis_down=self._redis.down, note=self._redis.note)

    def _tended(self, worker: WantedWorker) -> WantedWorker:
        if worker.failed:
            return worker
        process = self._workers.get(worker)
        if process is None:
            if time.monotonic() >= self._not_before.get(worker, 0):
                self._workers[worker] = self._start(worker)
            return worker
        status = process.poll()
        if status is None:
            return worker
        del self._workers[worker]
        if status in (ExitCode.UNREACHABLE, ExitCode.USAGE):
            log.error("a worker cannot load its model or classifier", model=worker.model, safety=worker.safety)
            return replace(worker, failed=True)
        log.warning("a worker exited; restarting it", status=status)
        self._not_before[worker] = time.monotonic() + RESTART_SECONDS
        return worker

    def _start(self, worker: WantedWorker) -> subprocess.Popen[bytes]:
        serving = ["--model", worker.model] if worker.model else ["--only-tunings"]
        words = ["worker", "--in-stack", *serving, "--device", worker.device, "--dtype", worker.dtype]
        words += ["--threads", str(worker.threads)] if worker.threads else []
        for name in worker.safety:
            words += ["--safety", name]
        return subprocess.Popen(
            [*PYTHON, "-m", "inkmill", *words],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent,  # this process has one thread
        )

    def _idle_for(self) -> float:
        return self._looked_at - self._busy_at

    def _check_use(self) -> None:
        """Checks now and then, outside the lock, whether this stack is still needed; trims its logs."""
        if time.monotonic() - self._looked_at < min(LOOK_SECONDS, self._config.idle_seconds / 4):
            return
        self._looked_at = time.monotonic()
        for log_file in (self._stack.log, self._config.redis_folder / "redis.log"):
            rotate(log_file)
        if self._has_work(self._stack.read()):
            self._busy_at = self._looked_at

    def _has_work(self, state: StackState) -> bool:
        if any(pin.lives() for pin in state.pins):
            return True
        serving = [worker for worker in state.workers if not worker.failed]
        if not serving:
            return False  # nothing here could do any work
        try:
            if self._database is None:
                self._database = open_database(self._config.sql_url)
            unfinished = [snapshot(self._database, job.id) for job in unfinished_jobs(self._database)]
            requested = open_requests(self._database)
            tunings = unfinished_tunings(self._database)
        except InkmillError:
            return True  # unknown: stay
        if any(_can_train(tuning, serving, self._config.models_folder) for tuning in tunings):
            return True
        writing = [worker for worker in serving if worker.model]
        scored = {name for worker in writing for name in worker.safety or BUILT_IN_CLASSIFIERS}
        return bool(requested & scored) or any(_can_serve(job, writing) for job in unfinished)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


def _can_serve(job: JobSnapshot, serving: list[WantedWorker]) -> bool:
    """Whether one of these workers has, or could take, some of the job."""
    generates = any(worker.model == job.model for worker in serving)
    scores = any(job.safety in (worker.safety or BUILT_IN_CLASSIFIERS) for worker in serving)
    waits = job.status is not JobStatus.PAUSED and ((job.to_generate and generates) or (job.to_score and scores))
    return bool(job.in_hand or waits)


def _can_train(tuning: StoredTuning, serving: list[WantedWorker], models: Path) -> bool:
    """Whether one of these workers has, or could take, the tuning."""
    trains = is_here(models, tuning.folder) and any(worker.trains(tuning.device) for worker in serving)
    return tuning.worker is not None or (tuning.status is TuningStatus.QUEUED and trains)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """The daemon's entry."""
    configure()
    return Daemon(settings()).run()


if __name__ == "__main__":
    leave(main())
