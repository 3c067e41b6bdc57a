"""Carries on retries that were killed half way: what one took up already would wait in a job that is over."""

from __future__ import annotations

import structlog

from db.jobs.retry import requeue_job
from db.session.engine import Database
from db.work.recovery import unfinished_retries
from worker.maintenance.standstill import Standstill

log = structlog.get_logger()


class RetryRescuer:
    """Queues the job again that a killed retry left over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._killed = Standstill(lambda: unfinished_retries(database))

    def run(self) -> None:
        for job_id in self._killed.jobs():
            log.warning("a retry was killed half way; what it took up goes on", job=job_id)
            requeue_job(self._database, job_id)
