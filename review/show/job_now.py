"""How a job stands at this moment, with what its pages say beside the counters: pace, time left, what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path

from contract.policy import NO_SAFETY
from contract.surroundings import Surroundings
from db.insights.pace import Pace, read_pace
from db.jobs.status import JobSnapshot, snapshot
from db.jobs.waiting import waiting_for
from db.session.engine import Database

JobId = Annotated[int, Path(ge=1, le=2**62)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNow:
    """One job, seen now."""

    job: JobSnapshot
    pace: Pace
    waiting: str | None  # what it waits for, with the command to type

    @property
    def scored_by_nobody(self) -> bool:
        return self.job.safety == NO_SAFETY

    @property
    def flagged_share(self) -> float | None:
        return self.job.flagged / self.job.settled if self.job.settled and not self.scored_by_nobody else None

    @property
    def over_prompts(self) -> int:
        """Prompts that nothing more happens to."""
        return self.job.done + self.job.dead + self.job.cancelled


def job_now(database: Database, job_id: int) -> JobNow:
    """How a job stands.

    Raises:
        NoSuchJob: where there is none.
    """
    return stand(database, snapshot(database, job_id))


def stand(database: Database, job: JobSnapshot) -> JobNow:
    """What can be said of a job beside its counters."""
    waiting = None if job.finished else waiting_for(database, job, Surroundings())
    return JobNow(job=job, pace=read_pace(database, job, waiting=bool(waiting)), waiting=waiting)
