"""Ends jobs that nothing else ends: those whose last worker crashed, and cancelled ones that no worker can score."""

from __future__ import annotations

from db.session.engine import Database
from db.work.recovery import finish_jobs
from db.work.unscored import leave_unscored, unscorable_jobs

CHUNKS_PER_SWEEP = 20
"""How much of a cancelled job one sweep settles."""


def end_jobs(database: Database) -> None:
    finish_jobs(database)
    for job_id in unscorable_jobs(database):
        leave_unscored(database, job_id, chunks=CHUNKS_PER_SWEEP)
