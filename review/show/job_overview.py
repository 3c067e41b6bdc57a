"""How a job stands, as its pages show it: its counters, pace, time left and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Path

from contract.policy import NO_SAFETY
from contract.waiting.surroundings import Surroundings
from db.insights.failures import FailureGroup, failure_groups
from db.insights.pace import Pace, read_pace
from db.jobs.status import JobSnapshot, snapshot
from db.jobs.waiting import waiting_for
from db.session.engine import Database
from db.work.workers import without_slots
from review.live.shared_reads import SharedReads

FAILURES_SECONDS = 30.0
JobId = Annotated[int, Path(ge=1, le=2**62)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOverview:
    """One job's counters, pace and wait."""

    job: JobSnapshot
    pace: Pace
    waiting: str | None  # what it waits for, with the command to type
    failures: tuple[FailureGroup, ...]  # its dead prompts by code
    without_slots: str | None = None  # how its texts are written, and why, where its model has no slots

    @property
    def not_scored(self) -> bool:
        return self.job.safety == NO_SAFETY

    @property
    def flagged_share(self) -> float | None:
        return self.job.flagged / self.job.settled if self.job.settled and not self.not_scored else None

    @property
    def finished_prompts(self) -> int:
        """Prompts that nothing more happens to."""
        return self.job.done + self.job.dead + self.job.cancelled

    @property
    def retry_can_help(self) -> bool:
        """Whether a retry of everything, nothing changed, can bring more texts or scores."""
        return bool(self.job.cancelled or self.job.unscored) or any(one.remedy.retry == () for one in self.failures)

    @property
    def left_prompts(self) -> int:
        return max(self.job.prompts - self.finished_prompts, 0)


def job_overview(database: Database, job_id: int, reads: SharedReads | None = None) -> JobOverview:
    """How a job stands.

    Args:
        reads: of the server; what was read of failures is kept there, as long as their number is the same.

    Raises:
        NoSuchJob: where there is none.
    """
    job = snapshot(database, job_id)
    overview = overview_of(database, job, reads)
    return replace(overview, without_slots=without_slots(database, job.model, job.served_engine))


def overview_of(database: Database, job: JobSnapshot, reads: SharedReads | None = None) -> JobOverview:
    """What can be said of a job beside its counters."""
    waiting = None if job.finished else waiting_for(database, job, Surroundings())
    failures = _failures(database, job, reads or SharedReads()) if job.dead else ()
    pace = read_pace(database, job, waiting=bool(waiting))
    return JobOverview(job=job, pace=pace, waiting=waiting, failures=failures)


def _failures(database: Database, job: JobSnapshot, reads: SharedReads) -> tuple[FailureGroup, ...]:
    """Of a job whose million prompts are dead it takes seconds, and a page asks every second."""
    topic = ("failures", job.id, job.dead)
    return reads.get(topic, lambda: tuple(failure_groups(database, job.id)), FAILURES_SECONDS)
