"""How a job stands: one snapshot from its batches' counters, cheap however large the job is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from contract.errors import NoSuchJob
from contract.policy import NO_SAFETY
from contract.review import State
from contract.spec import FINISHED_JOBS, BatchStatus, JobStatus, PromptStatus
from db.models import Batch, Job, Prompt
from db.review_models import Review
from db.session.engine import Database, now

MAX_REASONS = 20
UNKNOWN_REASON = "unknown"
"""How a prompt is spoken of that is dead without a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """A job's figures at one moment. Times are seconds since the epoch."""

    id: int
    name: str
    status: JobStatus
    model: str
    safety: str
    score_by: str
    seed: int
    device: str
    dtype: str
    served_revision: str | None
    served_dtype: str | None
    served_engine: str | None
    served_numerics: str | None
    served_threads: int | None
    served_classifier_revision: str | None = None
    rescoring: bool = False  # texts that have scores get new ones
    error: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    now: float
    prompts: int
    done: int
    dead: int
    cancelled: int
    outputs: int
    generated: int
    scored: int
    unscored: int
    flagged: int
    pending_review: int
    prompt_tokens: int
    generated_tokens: int
    to_generate: int  # batches that wait for a worker with the model
    to_score: int  # batches that wait for a worker with the classifier
    in_hand: int  # batches under a lease
    texts_to_write: int = 0
    texts_to_score: int = 0  # those that are to be written included, and those that are scored again
    batch_texts: int = 0  # asked for, on average, of each batch that is not written yet
    batches_writing: int = 0  # under a lease
    failures: dict[str, int]  # why prompts are dead, and how many for each reason

    @property
    def finished(self) -> bool:
        return self.status in FINISHED_JOBS

    @property
    def settled(self) -> int:
        """Outputs that need nothing more from a worker."""
        return self.scored + self.unscored if self.safety != NO_SAFETY else self.generated

    @property
    def seconds(self) -> float:
        """How long it has been, or was, worked on."""
        return 0.0 if self.started_at is None else max((self.finished_at or self.now) - self.started_at, 1e-3)


_COUNTERS = ("prompts", "done", "dead", "cancelled", "outputs", "generated", "scored", "unscored", "flagged",
             "prompt_tokens", "generated_tokens")  # fmt: skip
_JOB = ("id", "name", "status", "model", "safety", "score_by", "seed", "device", "dtype", "served_revision",
        "served_dtype", "served_engine", "served_numerics", "served_threads", "served_classifier_revision",
        "rescoring", "error", "created_at", "started_at", "finished_at")  # fmt: skip


def snapshot(database: Database, job_id: int) -> JobSnapshot:
    """How one job stands.

    Raises:
        NoSuchJob: there is none with that id.
    """
    with database.read() as connection:
        return snapshot_in(connection, job_id)


def snapshot_in(connection: Connection, job_id: int) -> JobSnapshot:
    """How one job stands in a transaction that sees one state.

    Raises:
        NoSuchJob: there is none with that id.
    """
    job = connection.execute(select(Job.__table__, now().label("now")).where(Job.id == job_id)).first()
    if job is None:
        raise NoSuchJob(job_id)
    return _snapshot(connection, job)


def snapshots(database: Database, limit: int = 100, before: int | None = None) -> list[JobSnapshot]:
    """How the newest jobs stand, newest first; with `before`, those older than that one."""
    jobs = select(Job.__table__, now().label("now")).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        jobs = jobs.where(Job.id < before)
    with database.read() as connection:
        return [_snapshot(connection, job) for job in connection.execute(jobs).all()]


def _snapshot(connection: Connection, job: Row[Any]) -> JobSnapshot:
    values: dict[str, Any] = {name: getattr(job, name) for name in _JOB}
    values["status"] = JobStatus(job.status)
    # One pass: a job of a million prompts has some thousands of batches.
    sums = [func.sum(Batch.__table__.c[name]).label(name) for name in _COUNTERS]
    by_status = select(Batch.status, func.count().label("batches"), *sums).where(Batch.job_id == job.id)
    counted = connection.execute(by_status.group_by(Batch.status)).all()
    values |= {name: sum(int(getattr(row, name)) for row in counted) for name in _COUNTERS}
    states: dict[str, int] = {row.status: row.batches for row in counted}
    values |= _texts_left({row.status: row for row in counted}, rescoring=job.rescoring)
    return JobSnapshot(
        **values,
        now=job.now,
        to_generate=states.get(BatchStatus.PENDING, 0),
        to_score=states.get(BatchStatus.GENERATED, 0),
        in_hand=states.get(BatchStatus.GENERATING, 0) + states.get(BatchStatus.SCORING, 0),
        pending_review=_undecided(connection, job.id) if values["flagged"] else 0,
        failures=_failures(connection, job.id) if values["dead"] else {},
    )


def _texts_left(counted: Mapping[str, Row[Any]], *, rescoring: bool) -> dict[str, int]:
    """What is to be done yet, from the counters of the batches in each state."""
    unwritten = [row for status, row in counted.items() if status in (BatchStatus.PENDING, BatchStatus.GENERATING)]
    unscored = [row for status, row in counted.items() if status in (BatchStatus.GENERATED, BatchStatus.SCORING)]
    asked, prompts = (sum(int(getattr(row, name)) for row in unwritten) for name in ("outputs", "prompts"))
    # A dead prompt's outputs are as many as on average.
    wanted = asked - round(asked * sum(int(row.dead) for row in unwritten) / max(prompts, 1))
    written = sum(int(row.generated) for row in unwritten)
    to_write = max(wanted - written, 0)
    settled = 0 if rescoring else sum(int(row.scored + row.unscored) for row in unscored)
    waiting = sum(int(row.generated) for row in unscored) - settled
    settled_early = sum(int(row.scored + row.unscored) for row in unwritten)
    return {
        "texts_to_write": to_write,
        "texts_to_score": to_write + max(written - settled_early, 0) + max(waiting, 0),
        "batch_texts": round(asked / max(sum(row.batches for row in unwritten), 1)),
        "batches_writing": sum(row.batches for row in unwritten if row.status == BatchStatus.GENERATING),
    }


_UNDECIDED = select(func.count()).where(Review.job_id == bindparam("job"), Review.state == State.PENDING)


def _undecided(connection: Connection, job_id: int) -> int:
    return connection.execute(_UNDECIDED, {"job": job_id}).scalar_one()


def _failures(connection: Connection, job_id: int) -> dict[str, int]:
    count = func.count()
    # By way of the few batches that have some: a large job's prompts are not read through.
    batches = select(Batch.id).where(Batch.job_id == job_id, Batch.dead > 0)
    rows = connection.execute(
        select(Prompt.reason, count)
        .where(Prompt.batch_id.in_(batches), Prompt.status == PromptStatus.DEAD)
        .group_by(Prompt.reason)
        .order_by(count.desc())
        .limit(MAX_REASONS)
    ).all()
    return {reason or UNKNOWN_REASON: number for reason, number in rows}
