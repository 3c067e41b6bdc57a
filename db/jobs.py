"""Jobs as a whole: finding, following, cancelling, retrying and ending them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import Connection, Row, insert, or_, select, update

from contract.errors import InkmillError, UsageError
from contract.sampling import read_settings
from contract.spec import (
    FINISHED_JOBS,
    BatchStatus,
    JobStatus,
    PromptStatus,
    Safety,
    SamplingSettings,
    merge,
)
from db.batches import cancel_batches, finish_job_if_over, recount
from db.ingest import discard_if_dead
from db.models import Batch, Job, Output, Prompt
from db.session import Database, now

CHUNK_BATCHES = 64
UNDER_WAY = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it was submitted, and what its first claim settled."""

    id: int
    name: str
    status: JobStatus
    fingerprint: str
    model: str
    safety: str
    seed: int
    settings: SamplingSettings
    thresholds: dict[str, float]
    blocklist: tuple[str, ...]
    on_flag: str
    batch_size: int
    device: str
    dtype: str
    served_revision: str | None
    served_dtype: str | None
    error: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


def stored_settings(base: SamplingSettings, stored: Mapping[str, Any] | None) -> SamplingSettings:
    """`base` with settings laid over it as SQL keeps them."""
    return merge(base, read_settings(stored)) if stored else base


def _job_row(row: Row[Any]) -> JobRow:
    values = {name: getattr(row, name) for name in JobRow.__dataclass_fields__}
    values["status"] = JobStatus(row.status)
    values["settings"] = stored_settings(SamplingSettings(), row.settings)
    values["blocklist"] = tuple(row.blocklist)
    return JobRow(**values)


_COLUMNS = [Job.__table__.c[name] for name in JobRow.__dataclass_fields__]


def get_job(database: Database, job_id: int) -> JobRow:
    """The job of that id.

    Raises:
        UsageError: where there is none.
    """
    with database.read() as connection:
        row = connection.execute(select(*_COLUMNS).where(Job.id == job_id)).first()
    if row is None:
        raise UsageError(f"there is no job {job_id}; 'inkmill jobs' lists what there is")
    return _job_row(row)


def list_jobs(database: Database, limit: int = 100) -> list[JobRow]:
    """The newest jobs, newest first."""
    with database.read() as connection:
        rows = connection.execute(select(*_COLUMNS).order_by(Job.id.desc()).limit(limit)).all()
    return [_job_row(row) for row in rows]


def find_job(database: Database, fingerprint: str) -> JobRow | None:
    """The newest complete submission of these bytes and settings."""
    query = (
        select(*_COLUMNS)
        .where(Job.fingerprint == fingerprint, Job.status != JobStatus.INGESTING)
        .order_by(Job.id.desc())
        .limit(1)
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    return _job_row(row) if row else None


def unfinished_jobs(database: Database) -> list[JobRow]:
    """The jobs that still need a worker, oldest first."""
    with database.read() as connection:
        rows = connection.execute(select(*_COLUMNS).where(Job.status.in_(UNDER_WAY)).order_by(Job.id)).all()
    return [_job_row(row) for row in rows]


def cancel_job(database: Database, job_id: int) -> None:
    """Cancels at once what no live lease holds; workers see it when they renew, and stop the rest.

    Raises:
        UsageError: where the job is unknown or over already, or still being submitted.
        InkmillError: where its producer died; what it left is removed.
    """
    cancelling = update(Job).where(Job.id == job_id, Job.status.in_(UNDER_WAY))
    with database.write() as connection:
        found = connection.execute(cancelling.values(status=JobStatus.CANCELLING.value)).rowcount
    if not found:
        _refuse_to_cancel(database, job_id)
    wind_up(database, job_id)


def _refuse_to_cancel(database: Database, job_id: int) -> NoReturn:
    job = get_job(database, job_id)
    if job.status in FINISHED_JOBS:
        raise UsageError(f"job {job_id} is {job.status} already; there is nothing to cancel")
    if discard_if_dead(database, job_id):
        raise InkmillError(
            f"job {job_id} was never complete: the command that submitted it died. What it left is removed; "
            "submit the file again"
        )
    raise UsageError(f"job {job_id} is still being submitted; end the submitting command instead")


def wind_up(database: Database, job_id: int) -> None:
    """Cancels the batches of a cancelling job that nobody holds, a chunk at a time; ends the job when all are over."""
    unheld = or_(
        Batch.status == BatchStatus.PENDING,
        (Batch.status == BatchStatus.GENERATING) & (Batch.lease_until < now()),
    )
    while True:
        with database.write() as connection:
            some = select(Batch.id).where(Batch.job_id == job_id, unheld).limit(CHUNK_BATCHES)
            ids = connection.scalars(some.with_for_update(skip_locked=True)).all()
            cancel_batches(connection, ids)
            if not ids:
                finish_job_if_over(connection, job_id)
                return


def fail_job(database: Database, job_id: int, error: str) -> None:
    """Ends a job whose model or classifier cannot be loaded. Nothing stored is touched; `retry_job` queues it again."""
    open_states = (JobStatus.QUEUED, JobStatus.RUNNING)
    with database.write() as connection:
        connection.execute(
            update(Job)
            .where(Job.id == job_id, Job.status.in_(open_states))
            .values(status=JobStatus.FAILED.value, error=error, finished_at=now())
        )


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry took up again."""

    prompts: int
    texts: int  # unscored texts that are scored again


def retry_job(database: Database, job_id: int, *, any_worker: bool = False) -> Retried:
    """Puts dead and cancelled prompts into new batches, unscored texts back before the classifier, a failed job back.

    Raises:
        UsageError: where the job is unknown or not over yet.
    """
    job = get_job(database, job_id)
    if job.status not in FINISHED_JOBS and not any_worker:
        raise UsageError(f"job {job_id} is {job.status}; retry works on jobs that are over")
    prompts = _requeue_prompts(database, job)
    texts = _requeue_texts(database, job_id)
    with database.write() as connection:
        values: dict[str, Any] = {"error": None}
        if any_worker:
            values |= {"served_revision": None, "served_dtype": None, "device": "auto", "dtype": "auto"}
        if job.status == JobStatus.FAILED or prompts or texts:
            values |= {"status": JobStatus.QUEUED.value, "finished_at": None}
        connection.execute(update(Job).where(Job.id == job_id).values(values))
        finish_job_if_over(connection, job_id)
    return Retried(prompts, texts)


def _requeue_prompts(database: Database, job: JobRow) -> int:
    given_up = (PromptStatus.DEAD, PromptStatus.CANCELLED)
    some = (
        select(Prompt.id, Prompt.batch_id, Prompt.n)
        .where(Prompt.job_id == job.id, Prompt.status.in_(given_up))
        .order_by(Prompt.position)
        .limit(job.batch_size)
    )
    total = 0
    while True:
        with database.write() as connection:
            rows = connection.execute(some).all()
            if not rows:
                return total
            _move_to_new_batch(connection, job.id, rows)
            total += len(rows)


def _move_to_new_batch(connection: Connection, job_id: int, rows: list[Row[Any]] | Any) -> None:
    batch = connection.execute(
        insert(Batch).values(job_id=job_id, status=BatchStatus.PENDING.value).returning(Batch.id)
    ).scalar_one()
    connection.execute(
        update(Prompt)
        .where(Prompt.id.in_([row.id for row in rows]))
        .values(batch_id=batch, status=PromptStatus.PENDING.value, faults=0, deaths=0, reason=None)
    )
    recount(connection, [batch, *{row.batch_id for row in rows}])


def _requeue_texts(database: Database, job_id: int) -> int:
    unscored = (Output.job_id == job_id) & (Output.safety == Safety.UNSCORED)
    with database.write() as connection:
        batches = connection.scalars(
            select(Prompt.batch_id).join(Output, Output.prompt_id == Prompt.id).where(unscored).distinct()
        ).all()
        texts = connection.execute(
            update(Output)
            .where(unscored)
            .values(safety=Safety.WAITING.value, score_faults=0, flagged=False, flag_reasons=None)
        ).rowcount
        reopened = update(Batch).where(Batch.id.in_(batches), Batch.status == BatchStatus.DONE)
        connection.execute(reopened.values(status=BatchStatus.GENERATED.value))
        recount(connection, list(batches))
    return texts
