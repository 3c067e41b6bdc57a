"""Finishes reflags that were killed half-way, a few chunks in each sweep."""

from __future__ import annotations

import structlog

from db.jobs.reflag import continue_reflag, unfinished_reflags
from db.session.engine import Database
from worker.maintenance.stalled_jobs import StalledJobs

CHUNKS_PER_SWEEP = 5
"""How much of a job one sweep reflags: leases and this worker's heartbeat wait meanwhile."""
log = structlog.get_logger()


class ReflagRescuer:
    """Finishes applying a job's policy if the command that began it was killed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._killed = StalledJobs(lambda: unfinished_reflags(database))
        self._jobs: set[int] = set()  # being reflagged by this worker

    def run(self) -> None:
        for job_id in self._killed.jobs():
            log.warning("a reflag was killed half-way; finishing it", job=job_id)
            self._jobs.add(job_id)
        for job_id in sorted(self._jobs):
            if continue_reflag(self._database, job_id, chunks=CHUNKS_PER_SWEEP):
                self._jobs.remove(job_id)
