"""Carries on reflags that were killed half way, some chunks a sweep."""

from __future__ import annotations

import structlog

from db.jobs.reflag import continue_reflag, unfinished_reflags
from db.session.engine import Database
from worker.maintenance.standstill import Standstill

CHUNKS = 5
"""How much of a job a sweep carries on: leases and this worker's heartbeat wait meanwhile."""
log = structlog.get_logger()


class ReflagRescuer:
    """Applies a job's policy to the end where the command that began it was killed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._killed = Standstill(lambda: unfinished_reflags(database))
        self._jobs: set[int] = set()  # that it works on

    def run(self) -> None:
        for job_id in self._killed.jobs():
            log.warning("a reflag was killed half way; it goes on", job=job_id)
            self._jobs.add(job_id)
        for job_id in sorted(self._jobs):
            if continue_reflag(self._database, job_id, chunks=CHUNKS):
                self._jobs.remove(job_id)
