"""The sweeper: every few seconds it brings back what ran out, tells of this worker, and fills the queues again.

That is what makes work go on by itself after Redis was flushed, or a message or a worker was lost.
"""

from __future__ import annotations

import threading
import time

import psutil
import structlog

from contract.errors import DatabaseUnreachable
from db.jobs.reflag import carry_on, half_reflagged
from db.jobs.retry import requeue_job
from db.work.recovery import finish_jobs, half_retried, sweep
from db.work.request_claims import sweep_requests
from db.work.unscored import leave_unscored, unscorable_jobs
from db.work.workers import beat
from worker.runtime.runtime import Runtime

RETRY_SECONDS = 60.0
"""A retry or a reflag that advances by nothing for so long was killed."""
REFLAG_CHUNKS = 5
"""Of a reflag that was killed, how much a sweep carries on: leases and this worker's sign of life wait meanwhile."""
UNSCORED_CHUNKS = 20
"""Of a cancelled job that nobody scores, how much a sweep settles."""
log = structlog.get_logger()


class Sweeper:
    """A thread of every worker process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen = (time.monotonic(), 0)
        self._half_retried: dict[int, int] = {}  # open batches of jobs that are over, at the last look
        self._half_reflagged: dict[int, int] = {}  # how far reflags had come at the last look
        self._killed_reflags: set[int] = set()
        self._looked_at = 0.0
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._runtime.stopping.is_set():
            try:
                self._sweep()
            except DatabaseUnreachable as error:
                log.warning("waiting for the database", error=str(error))
            except Exception:
                log.exception("a sweep failed; the next one tries again")
            self._runtime.stopping.wait(self._runtime.where.sweep_seconds)

    def _sweep(self) -> None:
        runtime = self._runtime
        expired = sweep(runtime.database)
        if expired:
            log.warning("leases ran out; their batches wait again", batches=expired)
        if sweep_requests(runtime.database):
            log.warning("leases of score requests ran out; they wait again")
        finish_jobs(runtime.database)
        for job_id in unscorable_jobs(runtime.database):
            leave_unscored(runtime.database, job_id, chunks=UNSCORED_CHUNKS)
        self._look_for_the_killed()
        beat(
            runtime.database,
            runtime.worker,
            state="ready",
            classifiers=list(runtime.classifiers.offered),
            classifier_revisions=runtime.classifiers.revisions,
            error=runtime.classifiers.error,
            tokens_per_second=self._pace(),
            memory_mb=psutil.Process().memory_info().rss / 2**20,
        )
        runtime.refill_generation()
        runtime.refill_scoring()
        self._carry_on_reflags()

    def _look_for_the_killed(self) -> None:
        if time.monotonic() - self._looked_at < RETRY_SECONDS:
            return
        self._looked_at = time.monotonic()
        self._carry_on_retries()
        before, self._half_reflagged = self._half_reflagged, half_reflagged(self._runtime.database)
        for job_id, _ in self._half_reflagged.items() & before.items():
            log.warning("a reflag was killed half way; it goes on", job=job_id)
            self._killed_reflags.add(job_id)

    def _carry_on_retries(self) -> None:
        before, self._half_retried = self._half_retried, half_retried(self._runtime.database)
        for job_id, _ in self._half_retried.items() & before.items():
            log.warning("a retry was killed half way; what it took up goes on", job=job_id)
            requeue_job(self._runtime.database, job_id)

    def _carry_on_reflags(self) -> None:
        for job_id in sorted(self._killed_reflags):
            if carry_on(self._runtime.database, job_id, chunks=REFLAG_CHUNKS):
                self._killed_reflags.remove(job_id)

    def _pace(self) -> float:
        """Tokens a second since the last sweep."""
        (then, before), self._seen = self._seen, (time.monotonic(), self._runtime.feeder.tokens)
        return (self._seen[1] - before) / max(self._seen[0] - then, 1e-3)
