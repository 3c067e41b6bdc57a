"""What brings batches back: leases that ran out, and worker processes that died.

A death makes a batch a suspect, suspects run alone and are halved, and so the culprit is found: only a single prompt
that took its process down three times while it ran alone is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, insert, select, update

from contract.failures import FailureCode
from contract.spec import JOBS_UNDER_WAY, BatchStatus, JobStatus, PromptStatus
from db.models import Batch, Job, Output, Prompt
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.work.batches import (
    CANCELLABLE,
    HELD,
    LACKS_OUTPUTS,
    OPEN_BATCHES,
    cancel_free_batches,
    cancel_where_job_is_cancelling,
    finish_job_if_over,
    recount,
    release_batches,
)
from db.work.request_claims import NO_SIGN_OF_LIFE, take_back_requests
from db.work.to_score import TO_SCORE

EXPIRIES_BEFORE_SUSPECT = 5
DEATHS_BEFORE_DEAD = 3


def sweep(database: Database) -> int:
    """Takes back the batches whose lease ran out. Returns how many.

    Five leases in a row that run out without a save count like a death: the batch becomes a suspect, and a suspect is
    halved, until a single prompt is charged.
    """
    ran_out = and_(HELD, Batch.lease_until < now())
    with database.read() as connection:  # most sweeps find nothing, and then take no write lock
        if not connection.scalar(select(exists().where(ran_out))):
            return 0
    with database.write() as connection:
        rows = connection.execute(
            select(Batch.id, Batch.job_id, Batch.status, Batch.deaths, Batch.expiries)
            .where(ran_out)
            .order_by(Batch.id)
            .with_for_update(skip_locked=True)
        ).all()
        ids = [row.id for row in rows]
        too_often = Batch.expiries + 1 >= EXPIRIES_BEFORE_SUSPECT
        release_batches(
            connection,
            ids,
            expiries=case((too_often, 0), else_=Batch.expiries + 1),
            deaths=case((too_often, Batch.deaths + 1), else_=Batch.deaths),
        )
        cancel_where_job_is_cancelling(connection, ids)
        for row in rows:
            suspect = row.deaths > 0 and row.expiries + 1 >= EXPIRIES_BEFORE_SUSPECT
            if suspect and row.status == BatchStatus.GENERATING:
                _halve_or_charge(connection, row.id, row.job_id, NO_SIGN_OF_LIFE)
    return len(rows)


def finish_jobs(database: Database) -> None:
    """Ends jobs without an open batch and winds up cancelled ones.

    The last batch and the cancelling command do that themselves; this mends what a crash left.
    """
    still_open = exists().where(Batch.job_id == Job.id, Batch.status.in_(OPEN_BATCHES))
    unheld = exists().where(Batch.job_id == Job.id, CANCELLABLE)
    cancelling = Job.status == JobStatus.CANCELLING
    with database.read() as connection:
        over = connection.scalars(select(Job.id).where(Job.status.in_(JOBS_UNDER_WAY), ~still_open)).all()
        stuck = connection.scalars(select(Job.id).where(cancelling, unheld)).all()
    for job_id in over:
        with database.write() as connection:
            finish_job_if_over(connection, job_id)
    for job_id in stuck:
        cancel_free_batches(database, job_id)


def unfinished_retries(database: Database) -> dict[int, int]:
    """Jobs that are over and have open batches, and how many: a retry works on them now, or was killed half way."""
    over = Job.status.in_((JobStatus.COMPLETED, JobStatus.CANCELLED))
    query = (
        select(Batch.job_id, func.count().label("batches"))
        .join(Job, Job.id == Batch.job_id)
        .where(over, Batch.status.in_(OPEN_BATCHES))
        .group_by(Batch.job_id)
    )
    with database.read() as connection:
        return {row.job_id: row.batches for row in connection.execute(query)}


def mark_death(database: Database, worker: str, how: str) -> int:
    """A process died: what it was generating or scoring is taken back and marked. Returns how many batches.

    Args:
        worker: the id of the process that died.
        how: what its parent saw, for a dead prompt's reason: "was killed by signal 9", "exited with status 1".
    """
    with database.write() as connection:
        take_back_requests(connection, worker=worker, how=how)  # before batches, as decisions lock them
        rows = connection.execute(
            select(Batch.id, Batch.job_id, Batch.status, Batch.alone)
            .where(HELD, Batch.worker == worker)
            .order_by(Batch.id)
            .with_for_update(key_share=True)
        ).all()
        ids = [row.id for row in rows]
        release_batches(connection, ids, deaths=Batch.deaths + 1)
        cancel_where_job_is_cancelling(connection, ids)
        for row in rows:
            # A text whose scoring kills is charged before it is scored, one by one: nothing to halve there.
            if row.alone and row.status == BatchStatus.GENERATING:
                _halve_or_charge(connection, row.id, row.job_id, how)
    return len(rows)


def release_worker_claims(database: Database, worker: str) -> int:
    """Frees what a worker that left in order still held; nothing is marked. Returns how many batches."""
    with database.write() as connection:
        theirs = and_(HELD, Batch.worker == worker)
        charged = and_(TO_SCORE, Output.score_faults > 0)
        # Outputs, requests, batches: as decisions lock them.
        outputs = lock_rows(connection, Output, charged, _in_batches(select(Batch.id).where(theirs)))
        take_back_requests(connection, worker=worker, charged=False)
        ids = lock_rows(connection, Batch, theirs)
        release_batches(connection, ids)
        # What was killed in its last attempt to score was charged for that before it was made. A text that was charged
        # with a death as well gets that back, too: if it is guilty, it will show once more.
        mine = and_(Output.id.in_(outputs), charged, _in_batches(ids))
        connection.execute(update(Output).where(mine).values(score_faults=Output.score_faults - 1))
        cancel_where_job_is_cancelling(connection, ids)
    return len(ids)


def _in_batches(ids: Any) -> ColumnElement[bool]:
    return Output.prompt_id.in_(select(Prompt.id).where(Prompt.batch_id.in_(ids)))


def _halve_or_charge(connection: Connection, batch_id: int, job_id: int, how: str) -> None:
    missing = connection.scalars(
        select(Prompt.id).where(Prompt.batch_id == batch_id, LACKS_OUTPUTS).order_by(Prompt.position)
    ).all()
    if len(missing) > 1:
        _split_off(connection, batch_id, job_id, missing[len(missing) // 2 :])
    elif missing:
        _charge(connection, batch_id, missing[0], how)


def _split_off(connection: Connection, batch_id: int, job_id: int, prompts: Sequence[int]) -> None:
    deaths = select(Batch.deaths).where(Batch.id == batch_id).scalar_subquery()
    values = {"job_id": job_id, "status": BatchStatus.PENDING.value, "deaths": deaths}
    half = connection.execute(insert(Batch).values(values).returning(Batch.id)).scalar_one()
    connection.execute(update(Prompt).where(Prompt.id.in_(prompts)).values(batch_id=half))
    recount(connection, [batch_id, half])


def _charge(connection: Connection, batch_id: int, prompt_id: int, how: str) -> None:
    deaths = connection.execute(
        update(Prompt).where(Prompt.id == prompt_id).values(deaths=Prompt.deaths + 1).returning(Prompt.deaths)
    ).scalar_one()
    if deaths < DEATHS_BEFORE_DEAD:
        return
    reason = f"the worker process {how} {deaths} times while it generated this prompt alone"
    dead = {"status": PromptStatus.DEAD.value, "reason": reason, "code": FailureCode.KILLED_WORKER.value}
    connection.execute(update(Prompt).where(Prompt.id == prompt_id).values(dead))
    recount(connection, [batch_id])
