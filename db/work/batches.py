"""Batches as rows: how they settle, are cancelled, are taken back, and how their counters stay true.

Functions here work inside the caller's transaction, but for `cancel_free_batches`; leases are the business of `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select, true, update

from contract.spec import JOBS_UNDER_WAY, BatchStatus, JobStatus, PromptStatus, Safety
from db.models import Batch, Job, Output, Prompt
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.work.lease import NO_LEASE
from db.work.to_score import TO_SCORE

OPEN_BATCHES = (BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING)

HELD = Batch.status.in_((BatchStatus.GENERATING, BatchStatus.SCORING))
"""The batches that a worker has in hand."""

FREE = NO_LEASE | {"alone": False}
"""The columns of a batch that nobody holds."""

LACKS_OUTPUTS = and_(
    Prompt.status == PromptStatus.PENDING,
    select(func.count()).where(Output.prompt_id == Prompt.id).scalar_subquery() < Prompt.n,
)
"""The prompts that have still to get some of their outputs."""

CHUNK_BATCHES = 64

CANCELLABLE = or_(
    Batch.status == BatchStatus.PENDING,
    (Batch.status == BatchStatus.GENERATING) & (Batch.lease_until < now()),
)
"""The batches of a cancelling job that no live lease holds."""


def end_batch(connection: Connection, batch_id: int, job_id: int) -> None:
    """Ends a batch whose texts are all settled, and its job with the last one."""
    pending = and_(Prompt.batch_id == batch_id, Prompt.status == PromptStatus.PENDING)
    done = connection.execute(update(Prompt).where(pending).values(status=PromptStatus.DONE.value)).rowcount
    connection.execute(
        update(Batch)
        .where(Batch.id == batch_id)
        .values(status=BatchStatus.DONE.value, done=Batch.done + done, deaths=0, **FREE)
    )
    finish_job_if_over(connection, job_id)


def finish_job_if_over(connection: Connection, job_id: int) -> None:
    """Ends the job when none of its batches is open. The row lock comes first: two last batches may end at once."""
    lock_rows(connection, Job, Job.id == job_id)
    still_open = exists().where(Batch.job_id == job_id, Batch.status.in_(OPEN_BATCHES))
    # A retry that was killed half way, or that took up only what had died, leaves cancelled prompts behind.
    lost = exists().where(Batch.job_id == job_id, Batch.cancelled > 0)
    cancelled = or_(Job.status == JobStatus.CANCELLING, lost)
    over = case((cancelled, JobStatus.CANCELLED.value), else_=JobStatus.COMPLETED.value)
    ended = {"status": over, "finished_at": now(), "rescoring": False}
    connection.execute(update(Job).where(Job.id == job_id, Job.status.in_(JOBS_UNDER_WAY), ~still_open).values(ended))


def release_batches(connection: Connection, ids: Sequence[int], **values: Any) -> None:
    """Frees batches that somebody held, back to where the next claim finds them."""
    back = case((Batch.status == BatchStatus.GENERATING, BatchStatus.PENDING.value), else_=BatchStatus.GENERATED.value)
    connection.execute(update(Batch).where(Batch.id.in_(ids)).values(status=back, **FREE, **values))


def cancel_where_job_is_cancelling(connection: Connection, ids: Sequence[int]) -> None:
    """Batches that came back to a job which a user cancelled meanwhile are not claimed again."""
    # Their jobs' rows first: a cancel comes wholly before this look, or finds them back when it looks itself.
    jobs = select(Batch.job_id).where(Batch.id.in_(ids))
    lock_rows(connection, Job, Job.id.in_(jobs))
    cancelling = connection.execute(
        select(Batch.id, Batch.job_id)
        .join(Job, Job.id == Batch.job_id)
        .where(Batch.id.in_(ids), Batch.status == BatchStatus.PENDING, Job.status == JobStatus.CANCELLING)
    ).all()
    cancel_batches(connection, [row.id for row in cancelling])
    for job_id in sorted({row.job_id for row in cancelling}):
        finish_job_if_over(connection, job_id)


def cancel_batches(connection: Connection, ids: Sequence[int]) -> None:
    """Cancels batches that nobody holds; those with stored texts go on to scoring with what they have."""
    if not ids:
        return
    connection.execute(
        update(Prompt).where(Prompt.batch_id.in_(ids), LACKS_OUTPUTS).values(status=PromptStatus.CANCELLED.value)
    )
    unscored = exists().where(Output.prompt_id == Prompt.id, Prompt.batch_id == Batch.id, TO_SCORE)
    nothing = Batch.generated == 0
    after = case(
        (nothing, BatchStatus.CANCELLED.value),
        (unscored, BatchStatus.GENERATED.value),
        else_=BatchStatus.DONE.value,
    )
    connection.execute(update(Batch).where(Batch.id.in_(ids)).values(status=after, deaths=0, **FREE))
    finished = select(Batch.id).where(Batch.id.in_(ids), Batch.status == BatchStatus.DONE)
    connection.execute(
        update(Prompt)
        .where(Prompt.batch_id.in_(finished), Prompt.status == PromptStatus.PENDING)
        .values(status=PromptStatus.DONE.value)
    )
    recount(connection, ids)


def recount(connection: Connection, ids: Iterable[int]) -> None:
    """Counts batches anew from their rows, after prompts moved or changed state out of the ordinary way."""
    wanted = Batch.id.in_(sorted(ids))
    # Locked first: what is counted next then holds what others stored while we waited for them.
    lock_rows(connection, Batch, wanted)

    def prompts(*where: ColumnElement[bool]) -> Any:
        return select(func.count()).where(Prompt.batch_id == Batch.id, *where).scalar_subquery()

    def outputs(what: Any, *where: ColumnElement[bool]) -> Any:
        mine = and_(Output.prompt_id == Prompt.id, Prompt.batch_id == Batch.id, *where)
        return select(func.coalesce(what, 0)).where(mine).scalar_subquery()

    asked = select(func.coalesce(func.sum(Prompt.n), 0)).where(Prompt.batch_id == Batch.id).scalar_subquery()
    connection.execute(
        update(Batch)
        .where(wanted)
        .values(
            prompts=prompts(),
            outputs=asked,
            done=prompts(Prompt.status == PromptStatus.DONE),
            dead=prompts(Prompt.status == PromptStatus.DEAD),
            cancelled=prompts(Prompt.status == PromptStatus.CANCELLED),
            generated=outputs(func.count(Output.id)),
            scored=outputs(func.count(Output.id), Output.safety == Safety.SCORED),
            unscored=outputs(func.count(Output.id), Output.safety == Safety.UNSCORED),
            flagged=outputs(func.count(Output.id), Output.flagged == true()),
            generated_tokens=outputs(func.sum(Output.tokens)),
            prompt_tokens=outputs(func.sum(Output.prompt_tokens), Output.sample_index == 0),
        )
    )


def cancel_free_batches(database: Database, job_id: int) -> None:
    """Cancels the batches of a cancelling job that nobody holds, a chunk at a time; ends the job when all are over."""
    mine = and_(Batch.job_id == job_id, CANCELLABLE, Job.status == JobStatus.CANCELLING)
    some = select(Batch.id).join(Job, Job.id == Batch.job_id).where(mine).limit(CHUNK_BATCHES)
    free = some.with_for_update(of=Batch, skip_locked=True)
    # Those that others had locked for a moment: nobody else would look at them again.
    left = some.order_by(Batch.id).with_for_update(of=Batch, key_share=True)
    while True:
        with database.write() as connection:
            ids = connection.scalars(free).all() or connection.scalars(left).all()
            cancel_batches(connection, ids)
            if not ids:
                finish_job_if_over(connection, job_id)
                return
