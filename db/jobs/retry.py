"""Retrying a job that is over: what died, what was cancelled, and what nobody could score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, or_, select, update

from contract.errors import UsageError
from contract.failures import FailureCode
from contract.sampling import json_ready
from contract.spec import FINISHED_JOBS, JobStatus
from db.jobs.jobs import JobRow, get_job
from db.jobs.requeue import Requeued, check_not_cancelled, check_settings, requeue_prompts, requeue_texts
from db.models import Batch, Job
from db.record import record_act
from db.session.engine import Database
from db.work.batches import OPEN_BATCHES, finish_job_if_over
from db.work.claims import MUST_MATCH

FIXED = {
    "n": "a retry writes the texts that are missing, as many as were asked for; submit the prompts anew to change that",
    "seed": "a retry keeps every text's seed; submit the prompts anew to change it",
}
"""Settings that no retry changes, and why."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry took up again."""

    prompts: int
    texts: int  # unscored texts that are scored again
    kept: int = 0  # dead prompts that keep their settings, as some of their texts are there


def retry_job(
    database: Database,
    job_id: int,
    *,
    any_worker: bool = False,
    code: FailureCode | None = None,
    settings: Mapping[str, Any] | None = None,
    by: str | None = None,
) -> Retried:
    """Puts dead and cancelled prompts into new batches, unscored texts back before the classifier, a failed job back.

    Args:
        any_worker: let workers of another revision, dtype or device serve it from now on, and another revision of its
            classifier score what is not scored yet; a job that is still under way changes in nothing else.
        code: take up the prompts alone that are dead of it.
        settings: laid over those of dead prompts, as `contract.sampling.read_settings` returns them. What has a text
            already keeps its settings: each text says which ones it was made with.
        by: as in `record_act`.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: it is not over yet, or is cancelled while this runs; or the settings do not go together with those
            of a prompt, or are none that a retry may change. Nothing is retried then, or less.
    """
    how = Requeued(code=code, settings=_changeable(settings or {}))
    job = get_job(database, job_id)
    if how != Requeued():
        _check_over(job)
    if any_worker and job.status not in (JobStatus.INGESTING, JobStatus.CANCELLING):
        _let_any_worker_serve(database, job_id, by)
        if job.status not in FINISHED_JOBS:
            return Retried(0, 0)
    _check_over(job)
    kept = check_settings(database, job, how) if how.settings else 0
    texts = requeue_texts(database, job) if code is None else 0
    retried = Retried(requeue_prompts(database, job, how), texts, kept)
    what: dict[str, Any] = {"prompts": retried.prompts, "texts": retried.texts}
    what |= {} if code is None else {"code": code.value}
    what |= {"settings": dict(how.settings)} if how.settings else {}
    requeue_job(database, job_id, job, by=by, what=what)
    return retried


def _check_over(job: JobRow) -> None:
    if job.status == JobStatus.PAUSED:
        raise UsageError(f"job {job.id} is paused; go on with it: inkmill resume {job.id}")
    if job.status not in FINISHED_JOBS:
        raise UsageError(f"job {job.id} is {job.status}; only a job that is over can be retried")


def _changeable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored.

    Raises:
        UsageError: one of them says how many texts there are, or where their seeds come from.
    """
    for name in FIXED.keys() & settings.keys():
        raise UsageError(f"{name}: {FIXED[name]}")
    return json_ready(settings)


def _let_any_worker_serve(database: Database, job_id: int, by: str | None) -> None:
    names = ("device", "dtype", *(f"served_{name}" for name in (*MUST_MATCH, "threads", "classifier_revision")))
    anything = dict.fromkeys(names) | {"device": "auto", "dtype": "auto"}
    columns = [Job.__table__.c[name] for name in names]
    with database.write() as connection:
        query = select(*columns).where(Job.id == job_id).with_for_update(key_share=True)
        before = dict(connection.execute(query).one()._mapping)
        connection.execute(update(Job).where(Job.id == job_id).values(anything))
        record_act(connection, "retry any worker", job_id, before=before, after=anything, by=by)


def requeue_job(
    database: Database,
    job_id: int,
    before: JobRow | None = None,
    *,
    by: str | None = None,
    what: Mapping[str, Any] | None = None,
) -> None:
    """Queues a job that was over and has work again, and one that failed.

    Args:
        before: the job as it was when the retry began; None = any time.
        by: as in `record_act`.
        what: what the retry took up, for the record.

    Raises:
        UsageError: where it was cancelled since `before`.
    """
    # Its batches say whether there is work, not what this retry did: an earlier one may have died half way.
    work = exists().where(Batch.job_id == job_id, Batch.status.in_(OPEN_BATCHES))
    lost = exists().where(Batch.job_id == job_id, Batch.cancelled > 0)
    # One that was cancelled when all its texts were there is complete after all.
    wanted = or_(Job.status == JobStatus.FAILED, and_(Job.status == JobStatus.CANCELLED, ~lost), work)
    over = and_(Job.id == job_id, Job.status.in_(FINISHED_JOBS), wanted)
    with database.write() as connection:
        if before is not None:
            check_not_cancelled(connection, before)
        status = connection.scalar(select(Job.status).where(over).with_for_update(key_share=True))
        if status is not None:
            queued = {"status": JobStatus.QUEUED.value, "finished_at": None, "error": None}
            connection.execute(update(Job).where(Job.id == job_id).values(queued))
            after = {"status": JobStatus.QUEUED.value, **(what or {})}
            record_act(connection, "retry", job_id, before={"status": status}, after=after, by=by)
        finish_job_if_over(connection, job_id)
