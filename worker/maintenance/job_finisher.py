"""Ends the jobs that nobody else ends: those whose last worker crashed, and cancelled ones that nobody can score."""

from __future__ import annotations

from db.session.engine import Database
from db.work.recovery import finish_jobs
from db.work.unscored import leave_unscored, unscorable_jobs

UNSCORED_CHUNKS = 20
"""Of a cancelled job that nobody scores, how much a sweep settles."""


def end_jobs(database: Database) -> None:
    finish_jobs(database)
    for job_id in unscorable_jobs(database):
        leave_unscored(database, job_id, chunks=UNSCORED_CHUNKS)
