"""PostgreSQL, where writers go on beside each other: who meets whom at the same rows, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from contract.spec import BatchStatus, JobStatus
from db.jobs.jobs import cancel_job
from db.models import Batch, Output
from db.session.engine import Database, open_database
from db.work.batches import FREE, cancel_where_job_is_cancelling
from db.work.claims import Claim, fenced
from db.work.outputs import count_scoring_attempt
from db.work.recovery import release_worker_claims
from tests.unit.db.mill import Mill, wait_for_lock


@pytest.fixture
def mill(postgres_url: str) -> Iterator[Mill]:
    database = open_database(postgres_url)
    mill = Mill(database)
    yield mill
    mill.assert_counters()
    database.close()


def test_a_batch_that_comes_back_while_its_job_is_cancelled_is_cancelled_too(mill: Mill) -> None:
    """Without any worker left that would look: it had been given back after the cancel looked."""
    job = mill.submit(2)
    claim = mill.claim()
    with ThreadPoolExecutor(1) as pool:
        with mill.database.write() as giving:
            back = fenced(claim, BatchStatus.GENERATING).values(status=BatchStatus.PENDING.value, **FREE)
            giving.execute(back)
            cancel_where_job_is_cancelling(giving, [claim.batch_id])
            cancel = pool.submit(cancel_job, mill.database, job)
            wait_for_lock(mill.database)
        cancel.result()
    assert (mill.states(job), mill.status(job)) == ([BatchStatus.CANCELLED], JobStatus.CANCELLED)


def test_a_batch_that_another_has_locked_for_a_moment_is_cancelled_with_its_job(mill: Mill) -> None:
    job = mill.submit(4)
    with ThreadPoolExecutor(1) as pool:
        with mill.database.write() as other:
            first = select(Batch.id).where(Batch.job_id == job).order_by(Batch.id).limit(1)
            other.execute(first.with_for_update(key_share=True)).all()
            cancel = pool.submit(cancel_job, mill.database, job)
            wait_for_lock(mill.database)
        cancel.result()
    assert (mill.states(job), mill.status(job)) == ([BatchStatus.CANCELLED] * 2, JobStatus.CANCELLED)


@pytest.mark.parametrize(
    "act",
    [
        lambda database, claim, output: release_worker_claims(database, "worker-1"),
        lambda database, claim, output: count_scoring_attempt(database, claim, output, 2),
    ],
    ids=["release_worker_claims", "count_scoring_attempt"],
)
def test_who_has_an_output_and_then_wants_its_batch_meets_nobody_who_did_it_the_other_way_round(
    mill: Mill, act: Callable[[Database, Claim, int], object]
) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    output = mill.outputs(job)[0].id
    count_scoring_attempt(mill.database, claim, output, 1)
    with ThreadPoolExecutor(1) as pool:
        with mill.database.write() as deciding:  # as a decision, or scores, lock them
            deciding.execute(select(Output.id).where(Output.id == output).with_for_update(key_share=True)).all()
            other = pool.submit(act, mill.database, claim, output)
            wait_for_lock(mill.database)
            deciding.execute(update(Batch).where(Batch.id == claim.batch_id).values(flagged=Batch.flagged))
        other.result()
