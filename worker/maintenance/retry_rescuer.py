"""Finishes retries that were killed half-way: the prompts one had reset would wait in a job that is over."""

from __future__ import annotations

import structlog

from db.jobs.retry import requeue_job
from db.session.engine import Database
from db.work.recovery import unfinished_retries
from worker.maintenance.stalled_jobs import StalledJobs

log = structlog.get_logger()


class RetryRescuer:
    """Queues jobs again whose retry was killed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._killed = StalledJobs(lambda: unfinished_retries(database))

    def run(self) -> None:
        for job_id in self._killed.jobs():
            log.warning("a retry was killed half-way; queueing its job again", job=job_id)
            requeue_job(self._database, job_id, by="a worker, for a retry that was killed")
