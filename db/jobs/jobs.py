"""Jobs as a whole: finding, cancelling, pausing and failing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, select, update

from contract.errors import InkmillError, NoSuchJob, UsageError
from contract.policy import ScoreBy
from contract.sampling import read_settings
from contract.spec import CLAIMABLE_JOBS, FINISHED_JOBS, JOBS_UNDER_WAY, JobStatus, SamplingSettings, merge
from db.jobs.ingest import discard_if_dead
from db.models import Job
from db.record import record_act
from db.session.engine import Database, now
from db.work.batches import cancel_free_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job as it was submitted, and what its first claim settled; not its blocklist, which may be long."""

    id: int
    name: str
    status: JobStatus
    fingerprint: str
    model: str
    safety: str
    score_by: ScoreBy
    seed: int
    settings: SamplingSettings
    thresholds: dict[str, float]
    blocklist_digest: str  # "" = there is none
    on_flag: str
    batch_size: int
    device: str
    dtype: str
    served_revision: str | None
    served_dtype: str | None
    served_engine: str | None
    served_numerics: str | None
    served_threads: int | None
    served_classifier_revision: str | None
    error: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(ListedJob):
    """A job with its blocklist."""

    blocklist: tuple[str, ...]


def stored_settings(base: SamplingSettings, stored: Mapping[str, Any] | None) -> SamplingSettings:
    """`base`, overridden by settings as SQL keeps them.

    Raises:
        SettingsError: they cannot be used; none that this version stored.
    """
    return merge(base, read_settings(stored)) if stored else base


def used_settings(settings: SamplingSettings, fitted: Mapping[str, int] | None) -> SamplingSettings:
    """The settings that an output was made with: `on_too_long` may have lowered the number of its tokens."""
    if not fitted:
        return settings
    most = fitted["max_new_tokens"]
    return replace(settings, max_new_tokens=most, min_new_tokens=min(settings.min_new_tokens, most))


def _values(row: Row[Any]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in ListedJob.__dataclass_fields__}
    return values | {
        "status": JobStatus(row.status),
        "score_by": ScoreBy(row.score_by),
        "settings": stored_settings(SamplingSettings(), row.settings),
    }


def _job_row(row: Row[Any]) -> JobRow:
    return JobRow(**_values(row), blocklist=tuple(row.blocklist))


_LISTED_COLUMNS = [Job.__table__.c[name] for name in ListedJob.__dataclass_fields__]
_COLUMNS = [*_LISTED_COLUMNS, Job.blocklist]


def get_job(database: Database, job_id: int) -> JobRow:
    """The job with that id.

    Raises:
        NoSuchJob: there is none.
    """
    with database.read() as connection:
        row = connection.execute(select(*_COLUMNS).where(Job.id == job_id)).first()
    if row is None:
        raise NoSuchJob(job_id)
    return _job_row(row)


def list_jobs(database: Database, limit: int = 100, *, before: int | None = None) -> list[ListedJob]:
    """The newest jobs, newest first; `before` a job, where one is named."""
    query = select(*_LISTED_COLUMNS).order_by(Job.id.desc()).limit(limit)
    with database.read() as connection:
        rows = connection.execute(query if before is None else query.where(Job.id < before)).all()
    return [ListedJob(**_values(row)) for row in rows]


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
    """The jobs that still need a worker, now or once they are resumed, oldest first."""
    with database.read() as connection:
        rows = connection.execute(select(*_COLUMNS).where(Job.status.in_(JOBS_UNDER_WAY)).order_by(Job.id)).all()
    return [_job_row(row) for row in rows]


def cancel_job(database: Database, job_id: int, *, by: str | None = None) -> None:
    """Cancels at once what no live lease holds; workers notice when they renew, and stop the rest.

    Args:
        by: as in `record_act`.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: it is over already, or still being submitted.
        InkmillError: its producer died; what it left is removed.
    """
    if not _steer(database, job_id, "cancel", JOBS_UNDER_WAY, JobStatus.CANCELLING, by):
        _cancel_or_explain(database, job_id, by)
    cancel_free_batches(database, job_id)


def pause_job(database: Database, job_id: int, *, by: str | None = None) -> None:
    """Lets nobody claim anything more of a job until `resume_job`. Texts that are being written are given back, as by
    `cancel_job`; those that are being scored get their scores.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: it is over, paused already, being cancelled or still being submitted.
    """
    if not _steer(database, job_id, "pause", CLAIMABLE_JOBS, JobStatus.PAUSED, by):
        status = get_job(database, job_id).status
        raise UsageError(f"job {job_id} is {_ALREADY.get(status, status)}; only a queued or running job can be paused")


def resume_job(database: Database, job_id: int, *, by: str | None = None) -> None:
    """Queues a paused job again.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: it is not paused.
    """
    if not _steer(database, job_id, "resume", (JobStatus.PAUSED,), JobStatus.QUEUED, by):
        status = get_job(database, job_id).status
        hint = f"; take it up again with: inkmill retry {job_id}" if status in _RETRIED else ""
        raise UsageError(f"job {job_id} is {_ALREADY.get(status, status)}, not paused{hint}")


_ALREADY = {status: f"already {status}" for status in (*FINISHED_JOBS, JobStatus.PAUSED)}
_RETRIED = (JobStatus.CANCELLED, JobStatus.FAILED)


def _steer(
    database: Database, job_id: int, what: str, among: Sequence[JobStatus], after: JobStatus, by: str | None
) -> bool:
    """Gives a job that is in one of the states `among` another one, and records who did. Returns whether it was."""
    query = select(Job.status).where(Job.id == job_id, Job.status.in_(among)).with_for_update(key_share=True)
    with database.write() as connection:
        before = connection.scalar(query)
        if before is None:
            return False
        connection.execute(update(Job).where(Job.id == job_id).values(status=after.value))
        record_act(connection, what, job_id, before={"status": before}, after={"status": after.value}, by=by)
    return True


def _cancel_or_explain(database: Database, job_id: int, by: str | None) -> None:
    """Says why a job could not be cancelled; one whose submission has just finished is cancelled after all."""
    job = get_job(database, job_id)
    if job.status in FINISHED_JOBS:
        raise UsageError(f"job {job_id} is already {job.status}; there is nothing to cancel")
    if discard_if_dead(database, job_id):
        raise InkmillError(
            f"job {job_id} was never fully submitted: its command died. What it left has been removed; "
            "submit the file again"
        )
    if get_job(database, job_id).status == JobStatus.INGESTING:
        raise UsageError(f"job {job_id} is still being submitted; stop the submitting command instead")
    cancel_job(database, job_id, by=by)


def fail_job(database: Database, job_id: int, error: str, *, owner: str | None = None) -> bool:
    """Ends a job whose model or classifier its own stack cannot load. Nothing stored is touched; `retry_job` queues it
    again.

    Args:
        owner: who asks; a job of anybody else is left alone.

    Returns:
        Whether it was under way, and the owner's.
    """
    wanted = (*CLAIMABLE_JOBS, JobStatus.CANCELLING)  # nobody misses a model that a paused job does not need now
    mine = update(Job).where(Job.id == job_id, Job.status.in_(wanted), Job.owner == owner)
    failed = mine.values(status=JobStatus.FAILED.value, error=error, finished_at=now())
    with database.write() as connection:
        return connection.execute(failed).rowcount == 1


def assign_owner(database: Database, job_id: int, owner: str) -> None:
    """Hands a job that is over to the installation that retries it."""
    over = update(Job).where(Job.id == job_id, Job.status.in_(FINISHED_JOBS))
    with database.write() as connection:
        connection.execute(over.values(owner=owner))
