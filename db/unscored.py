"""Texts of a cancelled job that nobody scores: they are left unscored, so that the job comes to its end."""

from __future__ import annotations

from itertools import count

from sqlalchemy import Connection, select, update

from contract.policy import UNSCORED
from contract.spec import BatchStatus, JobStatus, Safety
from db.batches import settle
from db.models import Batch, Job, Output, Prompt
from db.review_rows import refresh
from db.session import Database
from db.workers import SILENT_SECONDS, list_workers

CHUNK_TEXTS = 2000


def leave_unscored(database: Database, job_id: int, *, chunks: int | None = None) -> None:
    """Settles the texts of a cancelling job that wait for a classifier which no live worker has: flagged as unscored,
    never clean. `retry_job` has them scored after all.

    Args:
        chunks: to so many at most; None = all.
    """
    with database.read() as connection:
        job = connection.execute(select(Job.status, Job.safety).where(Job.id == job_id)).first()
    if job is None or job.status != JobStatus.CANCELLING or _served(database, job.safety):
        return
    for number in count():
        if number == chunks or not _leave_some(database, job_id):
            return


def unscorable_jobs(database: Database) -> list[int]:
    """The jobs that are being cancelled, and have texts that wait for their scores."""
    waiting = (Job.status == JobStatus.CANCELLING, Batch.status == BatchStatus.GENERATED)
    query = select(Job.id).join(Batch, Batch.job_id == Job.id).where(*waiting).distinct()
    with database.read() as connection:
        return list(connection.scalars(query))


def _served(database: Database, classifier: str) -> bool:
    """Whether a worker scores with it, or did a moment ago: one whose process died is soon started again."""
    lately = (worker for worker in list_workers(database) if worker.silent < SILENT_SECONDS)
    return any(classifier in worker.classifiers for worker in lately if worker.alive or worker.error)


def _leave_some(database: Database, job_id: int) -> bool:
    """Settles some texts of one batch, and the batch with the last ones. Returns whether there was one."""
    waiting = (Batch.job_id == job_id, Batch.status == BatchStatus.GENERATED, Job.status == JobStatus.CANCELLING)
    first = select(Batch.id).join(Job, Job.id == Batch.job_id).where(*waiting).order_by(Batch.id).limit(1)
    with database.write() as connection:
        batch = connection.scalar(first.with_for_update(of=Batch, skip_locked=True))
        if batch is None:
            return False
        if _give_up(connection, batch) < CHUNK_TEXTS:
            settle(connection, batch, job_id)
        return True


def _give_up(connection: Connection, batch: int) -> int:
    mine = (Prompt.batch_id == batch, Output.safety == Safety.WAITING)
    texts = select(Output.id).join(Prompt, Prompt.id == Output.prompt_id).where(*mine).order_by(Output.id)
    ids = connection.scalars(texts.limit(CHUNK_TEXTS)).all()
    values = {"safety": Safety.UNSCORED.value, "flagged": True, "flag_reasons": [UNSCORED]}
    connection.execute(update(Output).where(Output.id.in_(ids)).values(values))
    refresh(connection, ids)
    counted = {"unscored": Batch.unscored + len(ids), "flagged": Batch.flagged + len(ids)}
    connection.execute(update(Batch).where(Batch.id == batch).values(counted))
    return len(ids)
