"""How a job stands at this moment, with what its pages say beside the counters: pace, time left, what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Path

from common.times import duration
from contract.policy import NO_SAFETY
from contract.surroundings import Surroundings
from db.insights.pace import arrivals
from db.jobs.status import JobSnapshot, snapshot
from db.jobs.waiting import waiting_for
from db.session.engine import Database
from review.stats.pace import Range, time_left, tokens_per_second

T = TypeVar("T")
JobId = Annotated[int, Path(ge=1, le=2**62)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNow:
    """One job, seen now."""

    job: JobSnapshot
    pace: float | None  # tokens a second over the last minutes; None = nothing came lately
    left: Range | None
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

    @property
    def time_left(self) -> str:
        """The range in words; empty where nothing is known."""
        if self.left is None or self.waiting:
            return ""
        return between(self.left)


def between(left: Range) -> str:
    """A range of time in words: "3 to 5 min", "50 s to 2 min", "3 min" where both ends read alike."""
    low, high = duration(left.low), duration(left.high)
    if low == high:
        return low
    number, _, unit = low.rpartition(" ")
    alike = " " not in number and high.endswith(f" {unit}") and high.count(" ") == 1
    return f"{number if alike else low} to {high}"


def job_now(database: Database, job_id: int) -> JobNow:
    """How a job stands.

    Raises:
        HTTPException: where there is none.
    """
    return stand(database, snapshot(database, job_id))


def stand(database: Database, job: JobSnapshot) -> JobNow:
    """What can be said of a job beside its counters."""
    if job.finished:
        return JobNow(job=job, pace=None, left=None, waiting=None)
    seen = arrivals(database, job.id)
    lost = (job.dead + job.cancelled) / max(job.prompts, 1)
    expected = round(job.outputs * (1 - lost))  # a lost prompt's outputs are as many as on average
    to_score = 0 if job.safety == NO_SAFETY else max(expected - job.settled, 0)
    return JobNow(
        job=job,
        pace=tokens_per_second(seen),
        left=time_left(seen, max(expected - job.generated, 0), to_score),
        waiting=waiting_for(database, job, Surroundings()),
    )
