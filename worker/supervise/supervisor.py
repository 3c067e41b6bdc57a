"""The worker's parent: starts the process with the model, restarts it when it dies, and records what it died over.

Between two such processes it trains what waits to be trained (`tuner`): then no model takes up memory.

The first child is a fresh interpreter, and only the child loads torch, so the parent stays small. When a child that was
ready dies, the parent itself imports what a child needs and forks the next one; it can, because it computes nothing and
has one thread. After a child that died before it was ready, or a change of the program's files, the next one is a fresh
interpreter again.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import structlog

from contract.errors import DatabaseUnreachable, ExitCode, InkmillError
from contract.settings import Settings
from db.session.engine import Database, open_database
from db.tuning.claims import release_worker_tunings
from db.work.recovery import mark_death, release_worker_claims
from db.work.workers import WorkerRow, get_worker, record_heartbeat
from worker.supervise.logs import configure
from worker.supervise.spawn import (
    MADE_WAY,
    STOP_SIGNALS,
    Child,
    ForkedProcess,
    FreshProcess,
    Launch,
    WorkerOptions,
    describe_exit,
    preload,
    run_child,
    source_files,
)
from worker.supervise.tuner import Tuner

ENSURE_SECONDS = 5.0
MAX_FAILED_STARTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
STEADY_SECONDS = 30.0
"""A child that lived this long did not fail at its start: the next restart is quick again."""
POLL_SECONDS = 0.05
REST_SECONDS = 2.0
log = structlog.get_logger()


class Supervisor:
    """Keeps one worker running through its crashes."""

    def __init__(
        self, options: WorkerOptions, config: Settings, ensure_services: Callable[[], object], wait_for_database: bool
    ) -> None:
        """
        Args:
            ensure_services: called every few seconds, to see that what the child needs is still there.
            wait_for_database: at the start, instead of raising an error that nobody would see.
        """
        self._options, self._config, self._ensure, self._waits_for_database = (
            options,
            config,
            ensure_services,
            wait_for_database,
        )
        self._ensured_at, self._failed_starts = 0.0, 0  # in a row: children that died before they were ready
        self._was_ready = False  # any child so far: all that it needs can be loaded
        self._last_was_ready = self._preloaded = self._stopping = False
        self._sources = source_files()
        self._tuner = Tuner(options, config, stopping=lambda: self._stopping, tend=self._ensure_services)

    def run(self) -> int:
        """Serves until stopped by SIGTERM or SIGINT, or until it is clear that the model cannot be loaded.

        A model that was loaded before can be loaded again: whatever prevents it now is waited out.

        Returns:
            The exit status: 0 after a stop, 4 if the model or a classifier cannot be loaded.
        """
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's own threads, which nothing here needs
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it were ignored, no child's exit status could be read
        database = self._open_database()
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        pause, status = FIRST_PAUSE, int(ExitCode.DONE)
        while not self._stopping:
            if self._train(database):
                continue
            if not self._options.model:
                self._rest()
                continue
            started = time.monotonic()
            worker = uuid.uuid4().hex
            database.close()  # it reopens itself: a connection open during a fork would be shared with the child
            status = self._run_child(worker)
            died_holding_work = self._settle_claims(database, worker, status)
            if self._stopping or (status == ExitCode.UNREACHABLE and not self._was_ready):
                break
            if status == MADE_WAY:
                continue
            if self._failed_starts >= MAX_FAILED_STARTS and not self._was_ready:
                self._give_up(database, worker, status)
                status = ExitCode.UNREACHABLE
                break
            if died_holding_work or time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE
            log.warning("the worker process ended; starting another", how=describe_exit(status), pause=pause)
            self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._tuner.leave(database)
        return ExitCode.DONE if self._stopping else status

    def _train(self, database: Database) -> bool:
        """Trains what waits, while there is no process with a model. Returns whether something did."""
        try:
            return self._tuner.train_next(database)
        except DatabaseUnreachable as error:
            log.warning("waiting for the database", error=str(error))
        except Exception:  # a tuning must not end the work on jobs
            log.exception("a tuning failed; it will be tried again when its lease has run out")
        return False

    def _rest(self) -> None:
        """A worker that only trains looks again in a while."""
        self._ensure_services()
        self._pause(min(self._config.sweep_seconds, REST_SECONDS))

    def _open_database(self) -> Database:
        while True:
            try:
                return open_database(self._config.sql_url, timeout=self._config.service_seconds)
            except DatabaseUnreachable as error:
                if not self._waits_for_database:
                    raise
                log.warning("waiting for the database", error=str(error))
                time.sleep(2.0)

    def _run_child(self, worker: str) -> int:
        start = self._launch(worker)
        fork = self._last_was_ready and source_files() == self._sources
        self._last_was_ready = False  # until the database says that this one was ready
        try:
            child: Child = self._fork(start) if fork else FreshProcess(start)
        except OSError as error:  # no memory for a process, perhaps right after the kernel killed the last one
            log.warning("cannot start a worker process", error=str(error))
            return os.EX_OSERR
        return self._wait_for(child)

    def _fork(self, start: Launch) -> ForkedProcess:
        if not self._preloaded:
            self._preloaded = True
            preload()
        return ForkedProcess(lambda: run_child(start))

    def _wait_for(self, child: Child) -> int:
        stop_sent_at: float | None = None
        while (status := child.exit_status()) is None:
            time.sleep(POLL_SECONDS)
            self._ensure_services()
            if self._stopping and stop_sent_at is None:
                stop_sent_at = time.monotonic()
                child.send_signal(signal.SIGTERM)
            if stop_sent_at is not None and time.monotonic() - stop_sent_at > self._config.grace_seconds:
                log.warning("the worker process did not end in time; killed", grace=self._config.grace_seconds)
                child.send_signal(signal.SIGKILL)
        return status

    def _launch(self, worker: str) -> Launch:
        return Launch(worker=worker, parent=os.getpid(), options=self._options, again=self._was_ready)

    def _settle_claims(self, database: Database, worker: str, status: int) -> bool:
        """Gives back the claims that the child still held, marked as suspects if it died, unmarked if it was stopped.

        Returns:
            Whether it died holding work. Then the next child runs it in smaller parts, so there is no need to pause.
        """
        in_order = self._stopping or status in (ExitCode.DONE, ExitCode.UNREACHABLE, MADE_WAY)
        held = 0
        while True:
            try:
                release_worker_tunings(database, worker)  # it held one at most to make way for it
                if in_order:
                    release_worker_claims(database, worker)
                else:
                    held += mark_death(database, worker, describe_exit(status))
                    record_heartbeat(database, worker, state="stopped", error=f"the process {describe_exit(status)}")
                # Last, because it must not count twice if what comes before has to be repeated.
                self._note_readiness(get_worker(database, worker), in_order)
                return held > 0
            except DatabaseUnreachable as error:
                if self._stopping:
                    return False  # the leases will run out
                log.warning("waiting for the database", error=str(error))
                self._pause(1.0)
            except Exception:  # the tables are gone, say: the next child opens the database anew
                log.exception("cannot give back the claims of the worker process; their leases will run out")
                return False

    def _note_readiness(self, row: WorkerRow | None, in_order: bool) -> None:
        ready = row is not None and row.revision is not None  # stored once the model is loaded
        if row is not None and ready:
            self._tuner.device = row.device
        self._was_ready |= ready
        self._last_was_ready = ready
        if not in_order:
            self._failed_starts = 0 if row is None or ready else self._failed_starts + 1

    def _give_up(self, database: Database, worker: str, status: int) -> None:
        error = (
            f"the worker process {describe_exit(status)} {self._failed_starts} times before its model was loaded; "
            "is there enough memory for it?"
        )
        log.error("cannot serve", error=error)
        with suppress(InkmillError):
            record_heartbeat(database, worker, state="failed", error=error)

    def _ensure_services(self) -> None:
        if time.monotonic() - self._ensured_at > ENSURE_SECONDS and not self._stopping:
            self._ensured_at = time.monotonic()
            try:
                self._ensure()
            except (InkmillError, OSError) as error:  # a full disk, say
                log.warning("what the worker needs is not running", error=str(error))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.1)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


def main(
    options: WorkerOptions,
    config: Settings,
    ensure_services: Callable[[], object] = lambda: None,
    *,
    wait_for_database: bool = False,
) -> int:
    """Runs a worker in the foreground of this process; for the arguments see `Supervisor`."""
    configure()
    return Supervisor(options, config, ensure_services, wait_for_database).run()
