"""Texts of a cancelled job that nobody scores: they are left unscored, so that the job comes to its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from sqlalchemy import Connection, select, update

from contract.policy import UNSCORED
from contract.spec import BatchStatus, JobStatus, Safety
from db.models import Batch, Job, Output, Prompt
from db.review_sync import sync_reviews
from db.session.engine import Database
from db.work.batches import end_batch
from db.work.workers import SILENT_SECONDS, list_workers

CHUNK_TEXTS = 2000


def leave_unscored(database: Database, job_id: int, *, chunks: int | None = None) -> None:
    """Settles the texts of a cancelling job that wait for a classifier which no live worker has: flagged as unscored,
    never clean. `retry_job` has them scored after all.

    Args:
        chunks: to so many at most; None = all.
    """
    with database.read() as connection:
        columns = (Job.status, Job.safety, Job.served_classifier_revision)
        job = connection.execute(select(*columns).where(Job.id == job_id)).first()
    if job is None or job.status != JobStatus.CANCELLING:
        return
    if _served(database, job.safety, job.served_classifier_revision):
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


def _served(database: Database, classifier: str, revision: str | None) -> bool:
    """Whether a worker scores with it, or did a moment ago: one whose process died is soon started again."""
    lately = (worker for worker in list_workers(database) if worker.silent < SILENT_SECONDS)
    return any(worker.scores(classifier, revision) for worker in lately if worker.alive or worker.error)


def _leave_some(database: Database, job_id: int) -> bool:
    """Settles some texts of one batch, and the batch with the last ones. Returns whether there was one."""
    waiting = (Batch.job_id == job_id, Batch.status == BatchStatus.GENERATED, Job.status == JobStatus.CANCELLING)
    first = select(Batch.id).join(Job, Job.id == Batch.job_id).where(*waiting).order_by(Batch.id).limit(1)
    with database.write() as connection:
        batch = connection.scalar(first)
        if batch is None:
            return False
        ids = _lock_texts(connection, batch)  # before their batch, as everybody locks them
        unclaimed = select(Batch.id).where(Batch.id == batch, Batch.status == BatchStatus.GENERATED)
        if connection.scalar(unclaimed.with_for_update()) is not None:
            _give_up(connection, batch, ids)
            if len(ids) < CHUNK_TEXTS:
                end_batch(connection, batch, job_id)
        return True


def _lock_texts(connection: Connection, batch: int) -> Sequence[int]:
    mine = (Prompt.batch_id == batch, Output.safety == Safety.WAITING)
    texts = select(Output.id).join(Prompt, Prompt.id == Output.prompt_id).where(*mine).order_by(Output.id)
    return connection.scalars(texts.limit(CHUNK_TEXTS).with_for_update(of=Output, key_share=True)).all()


def _give_up(connection: Connection, batch: int, ids: Sequence[int]) -> None:
    values = {"safety": Safety.UNSCORED.value, "flagged": True, "flag_reasons": [UNSCORED]}
    connection.execute(update(Output).where(Output.id.in_(ids)).values(values))
    sync_reviews(connection, ids)
    counted = {"unscored": Batch.unscored + len(ids), "flagged": Batch.flagged + len(ids)}
    connection.execute(update(Batch).where(Batch.id == batch).values(counted))
