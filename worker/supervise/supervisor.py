"""The worker's parent: starts the process that holds the model, restarts it when it dies, and says what it died over.

It stays small for as long as nothing dies: torch is loaded in the child alone, a fresh interpreter. When one that was
ready has died, it imports what a child needs itself, and the next is forked. It computes nothing and has one thread,
so that it may fork. A child that died before it was ready is followed by a fresh interpreter again, whatever was wrong
with what the last one was handed; and so is any child where the program was changed on the disk meanwhile.
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
from db.work.recovery import mark_death, release_worker_claims
from db.work.workers import WorkerRow, get_worker, record_heartbeat
from worker.supervise.logs import configure
from worker.supervise.spawn import TOLD_BY, Child, Forked, Fresh, Start, WorkerOptions, preload, run_here, sources

KEEP_SECONDS = 5.0
MOST_STILLBORN = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
STEADY_SECONDS = 30.0
"""A child that lived this long was not failing at start: the next restart is quick again."""
LOOK_SECONDS = 0.05
log = structlog.get_logger()


class WorkerProcess:
    """A worker that outlives its own crashes."""

    def __init__(self, options: WorkerOptions, where: Settings, keep: Callable[[], object], patient: bool) -> None:
        """
        Args:
            keep: called every few seconds, to see that what the child needs is still there.
            patient: wait for a database that is away at the start, where nobody is there to read an error.
        """
        self._options, self._where, self._keep, self._patient = options, where, keep, patient
        self._kept_at, self._stillborn = 0.0, 0  # children that died in a row before they were ready
        self._was_ready = False  # one of them: all that it needs can be loaded
        self._last_was_ready = self._preloaded = self._stopping = False
        self._sources = sources()

    def run(self) -> int:
        """Serves until told to stop by SIGTERM or SIGINT, or until it is plain that the model cannot be loaded.

        One that was loaded before can be loaded: what is in its way passes, and is waited for.

        Returns:
            The exit status: 0 after a stop, 4 where the model or a classifier cannot be loaded.
        """
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's own threads: nothing here needs them
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no child's end can be learnt
        database = self._opened()
        for number in TOLD_BY:
            signal.signal(number, self._stop)
        pause, status = FIRST_PAUSE, int(ExitCode.DONE)
        while not self._stopping:
            started = time.monotonic()
            worker = uuid.uuid4().hex
            database.close()  # it opens anew: what is open while a process is forked, two would use
            status = self._run_child(worker)
            died_over_work = self._account_for(database, worker, status)
            if self._stopping or (status == ExitCode.UNREACHABLE and not self._was_ready):
                break
            if self._stillborn >= MOST_STILLBORN and not self._was_ready:
                self._give_up(database, worker, status)
                status = ExitCode.UNREACHABLE
                break
            if died_over_work or time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE
            log.warning("the worker process ended; starting another", how=describe(status), pause=pause)
            self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return ExitCode.DONE if self._stopping else status

    def _opened(self) -> Database:
        while True:
            try:
                return open_database(self._where.sql_url, timeout=self._where.service_seconds)
            except DatabaseUnreachable as error:
                if not self._patient:
                    raise
                log.warning("waiting for the database", error=str(error))
                time.sleep(2.0)

    def _run_child(self, worker: str) -> int:
        start = self._start(worker)
        fork = self._last_was_ready and sources() == self._sources
        self._last_was_ready = False  # until the database says so of this one
        try:
            child: Child = self._forked(start) if fork else Fresh(start)
        except OSError as error:  # no memory and no process is to be had now, right after the kernel took the last one
            log.warning("cannot start a worker process", error=str(error))
            return os.EX_OSERR
        return self._followed(child)

    def _forked(self, start: Start) -> Forked:
        if not self._preloaded:
            self._preloaded = True
            preload()
        return Forked(lambda: run_here(start))

    def _followed(self, child: Child) -> int:
        asked_at: float | None = None
        while (status := child.ended()) is None:
            time.sleep(LOOK_SECONDS)
            self._look_after()
            if self._stopping and asked_at is None:
                asked_at = time.monotonic()
                child.send(signal.SIGTERM)
            if asked_at is not None and time.monotonic() - asked_at > self._where.grace_seconds:
                log.warning("the worker process did not leave in time; killed", grace=self._where.grace_seconds)
                child.send(signal.SIGKILL)
        return status

    def _start(self, worker: str) -> Start:
        return Start(worker=worker, parent=os.getpid(), options=self._options, again=self._was_ready)

    def _account_for(self, database: Database, worker: str, status: int) -> bool:
        """Frees what the child still held: with a mark where it died, without one where it was told to go.

        Returns:
            Whether it died over work: the next child then runs less of it, and waiting would only keep it waiting.
        """
        in_order = self._stopping or status in (ExitCode.DONE, ExitCode.UNREACHABLE)
        held = 0
        while True:
            try:
                if in_order:
                    release_worker_claims(database, worker)
                else:
                    held += mark_death(database, worker, describe(status))
                    record_heartbeat(database, worker, state="stopped", error=f"the process {describe(status)}")
                # Last: what is done again because an answer was lost must not count again.
                self._learn_from(get_worker(database, worker), in_order)
                return held > 0
            except DatabaseUnreachable as error:
                if self._stopping:
                    return False  # the leases run out by themselves
                log.warning("waiting for the database", error=str(error))
                self._rest(1.0)
            except Exception:  # its tables are gone, say: the next child opens it anew
                log.exception("cannot say what the worker process left behind; leases run out by themselves")
                return False

    def _learn_from(self, row: WorkerRow | None, in_order: bool) -> None:
        ready = row is not None and row.revision is not None  # which is told when the model is loaded
        self._was_ready |= ready
        self._last_was_ready = ready
        if not in_order:
            self._stillborn = 0 if row is None or ready else self._stillborn + 1

    def _give_up(self, database: Database, worker: str, status: int) -> None:
        error = (
            f"the worker process {describe(status)} {self._stillborn} times before its model was loaded; "
            "is there memory enough for it?"
        )
        log.error("cannot serve", error=error)
        with suppress(InkmillError):
            record_heartbeat(database, worker, state="failed", error=error)

    def _look_after(self) -> None:
        if time.monotonic() - self._kept_at > KEEP_SECONDS and not self._stopping:
            self._kept_at = time.monotonic()
            try:
                self._keep()
            except (InkmillError, OSError) as error:  # no room on the disk, say
                log.warning("what the worker needs is away", error=str(error))

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.1)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


def describe(status: int) -> str:
    """A child's end in words: "was killed by signal 9", "exited with status 1"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"was killed by {name}"


def main(
    options: WorkerOptions, where: Settings, keep: Callable[[], object] = lambda: None, *, patient: bool = False
) -> int:
    """Runs a worker in this process' foreground; `WorkerProcess` says what the arguments are."""
    configure()
    return WorkerProcess(options, where, keep, patient).run()
