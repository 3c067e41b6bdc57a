"""Scoring a job's stored texts again, by whatever revision of its classifier is there now.

One small transaction opens the job's batches again, and workers claim them as ever. A text keeps its scores and its
flag until the transaction that stores the new ones; what is still to be done shows in the scores themselves, so that
nothing needs mending after a death.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, or_, select, update

from contract.errors import UsageError
from contract.policy import NO_SAFETY, ScoreBy
from contract.spec import FINISHED_JOBS, BatchStatus, JobStatus, Safety
from db.jobs.jobs import get_job
from db.jobs.requeue import check_not_cancelled, requeue_texts
from db.models import Batch, Job, Output
from db.record import record_act
from db.review_models import ScoreRequest
from db.session.engine import Database
from db.work.batches import finish_job_if_over, release_batches
from db.work.lease import NO_LEASE
from db.work.score_requests import DONE, EDIT, SCORING, WAITING, WITHDRAWN, WORDS


def rescore_job(database: Database, job_id: int, *, score_by: ScoreBy | None = None, by: str | None = None) -> int:
    """Has all stored texts of a job scored again, edits too. Returns how many outputs.

    Texts that could not be scored are tried again as well. The first worker that scores some settles the revision for
    all of them, as for a new job; texts that have the scores of that revision already keep them.

    Args:
        score_by: what is read at once from now on; None = as before.
        by: as in `record_act`.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: it has no classifier, is being submitted or cancelled, or is cancelled while this runs.
    """
    job = get_job(database, job_id)
    if job.safety == NO_SAFETY:
        raise UsageError(f"job {job_id} has safety none: there is no classifier to rescore its texts with")
    if job.status in (JobStatus.INGESTING, JobStatus.CANCELLING):
        raise UsageError(f"job {job_id} is {job.status}; rescore it once that is over")
    requeue_texts(database, job)
    with database.write() as connection:
        # In the order in which everybody locks them.
        # The few texts that were scored at a second or third attempt get three new ones.
        failed = (Output.job_id == job_id, Output.safety == Safety.SCORED, Output.score_faults > 0)
        connection.execute(update(Output).where(*failed).values(score_faults=0))
        _ask_again(connection, job_id)
        _open_batches(connection, job_id)
        check_not_cancelled(connection, job)
        _open_job(connection, job_id, score_by or job.score_by)
        before = {"classifier_revision": job.served_classifier_revision, "score_by": job.score_by.value}
        after = {"score_by": (score_by or job.score_by).value}
        record_act(connection, "rescore", job_id, before=before, after=after, by=by)
        finish_job_if_over(connection, job_id)  # at once where there is no text
        scored = select(func.coalesce(func.sum(Batch.generated), 0)).where(Batch.job_id == job_id)
        return int(connection.execute(scored).scalar_one())


def _open_job(connection: Connection, job_id: int, score_by: ScoreBy) -> None:
    status = case((Job.status.in_(FINISHED_JOBS), JobStatus.QUEUED.value), else_=Job.status)
    again: dict[str, Any] = {"status": status, "finished_at": None, "error": None, "score_by": score_by.value}
    scored = exists().where(Batch.job_id == job_id, Batch.scored > 0)
    again |= {"served_classifier_revision": None, "rescoring": scored}
    connection.execute(update(Job).where(Job.id == job_id).values(again))


def _open_batches(connection: Connection, job_id: int) -> None:
    rows = connection.execute(
        select(Batch.id, Batch.status).where(Batch.job_id == job_id).order_by(Batch.id).with_for_update(key_share=True)
    ).all()
    # By the revision of before: whoever has them in hand stores no more.
    release_batches(connection, [row.id for row in rows if row.status == BatchStatus.SCORING])
    done = and_(Batch.job_id == job_id, Batch.status == BatchStatus.DONE, Batch.scored > 0)
    connection.execute(update(Batch).where(done).values(status=BatchStatus.GENERATED.value))


def _ask_again(connection: Connection, job_id: int) -> None:
    """Edits are scored again; which words carry a score is told anew where somebody asks."""
    mine = exists().where(Output.id == ScoreRequest.output_id, Output.job_id == job_id)
    edits = and_(ScoreRequest.kind == EDIT, ScoreRequest.status != WITHDRAWN)
    words = and_(ScoreRequest.kind == WORDS, ScoreRequest.status.in_((SCORING, DONE)))
    told = and_(ScoreRequest.kind == WORDS, ScoreRequest.status == DONE)
    again = {
        "status": case((told, WITHDRAWN), else_=WAITING),
        "attempts": 0,
        "reason": None,
        "result": None,
        **NO_LEASE,
    }
    connection.execute(update(ScoreRequest).where(mine, or_(edits, words)).values(again))
