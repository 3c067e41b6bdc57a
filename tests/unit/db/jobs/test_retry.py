"""A retry beside others: what they did between its look and its lock stands, and its looks go ever further on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text

from contract.errors import UsageError
from contract.spec import BatchStatus, JobStatus
from db.jobs import requeue
from db.jobs.jobs import cancel_job, get_job
from db.jobs.rescore import rescore_job
from db.jobs.retry import Retried, requeue_texts, retry_job
from db.models import Batch, Output
from db.review.decisions.acts import decide
from db.session.engine import Database, open_database
from db.work.claims import finish_generation, finish_scoring
from db.work.outputs import give_up_scoring, record_fault, texts_to_score
from tests.unit.db.desk import Desk
from tests.unit.db.mill import Mill, before_write, wait_for_lock


def another(database: Database) -> Database:
    """The same database, as another process has it."""
    return Database(database.url.render_as_string(hide_password=False), database.engine)


def unscored_job(mill: Mill, prompts: int = 3, n: int = 1) -> tuple[int, list[int]]:
    """A finished job whose texts could not be scored, and these."""
    job = mill.submit(prompts, n=n, batch_size=prompts)
    mill.finish(mill.claim())
    scoring = mill.claim_texts()
    for lost in texts_to_score(mill.database, scoring):
        give_up_scoring(mill.database, scoring, lost.output_id)
    finish_scoring(mill.database, scoring)
    return job, [row.id for row in mill.outputs(job)]


def safety(mill: Mill, job: int) -> list[str]:
    return [row.safety for row in mill.outputs(job)]


def test_an_edit_made_between_a_retrys_look_and_its_lock_stands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job, (first, _, _) = unscored_job(desk)
    other = another(desk.database)
    before_write(monkeypatch, desk.database, 1, lambda: decide(other, first, "ann", "edit", text="you idiot"))
    assert retry_job(desk.database, job).texts == 2
    assert safety(desk, job) == ["unscored", "waiting", "waiting"]
    desk.score_edits(toxicity=0.998)
    desk.finish_texts(desk.claim_texts(), toxicity=0.01)
    assert desk.look(first).flagged
    decide(desk.database, first, "ann", "approve")
    assert first not in desk.exported("clean")


def test_a_retry_waits_for_an_edit_that_is_being_stored(postgres_url: str) -> None:
    """PostgreSQL looks at rows that it waited for again, but at what they are compared with as it was before."""
    database = open_database(postgres_url)
    desk = Desk(database)
    job, (first, *_) = unscored_job(desk)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as editing:
            editing.execute(select(Output.id).where(Output.id == first).with_for_update(key_share=True))
            retry = pool.submit(retry_job, database, job)
            wait_for_lock(database)
            editing.execute(text("UPDATE outputs SET decision = 'waiting' WHERE id = :first"), {"first": first})
            editing.execute(text("UPDATE reviews SET revision = 1 WHERE output_id = :first"), {"first": first})
        assert retry.result().texts == 2
    assert safety(desk, job) == ["unscored", "waiting", "waiting"]
    desk.assert_counters()
    database.close()


def test_two_retries_at_once_count_a_text_whose_prompt_moved_where_it_is(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = mill.submit(2, n=2)
    claim = mill.claim()
    mill.generate(claim, 1)
    for row in mill.prompts(job):
        record_fault(mill.database, claim, row.id, "fails", number=1, certain=True)
    finish_generation(mill.database, claim)
    scoring = mill.claim_texts()
    give_up_scoring(mill.database, scoring, texts_to_score(mill.database, scoring)[0].output_id)
    mill.finish_texts(scoring)
    other = another(mill.database)
    before_write(monkeypatch, mill.database, 1, lambda: retry_job(other, job))
    assert retry_job(mill.database, job) == Retried(0, 0)
    mill.assert_counters()
    mill.work_off()
    assert (mill.status(job), safety(mill, job)) == (JobStatus.COMPLETED, ["scored"] * 4)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_cancel_is_not_undone_by_a_retry_that_began_before_it(
    mill: Mill, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job = mill.submit(4, batch_size=2)
    cancel_job(mill.database, job)
    other = another(mill.database)

    def faster() -> None:
        retry_job(other, job)
        cancel_job(other, job)

    before_write(monkeypatch, mill.database, number, faster)
    with pytest.raises(UsageError, match="was cancelled in the meantime"):
        retry_job(mill.database, job)
    assert mill.status(job) == JobStatus.CANCELLED
    assert mill.prompt_states(job) == ["cancelled"] * 4
    assert not {row.status for row in mill.batches(job)} - {BatchStatus.CANCELLED}
    monkeypatch.undo()
    assert retry_job(mill.database, job).prompts == 4
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_cancel_is_not_undone_by_a_retry_of_texts_that_began_before_it(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = unscored_job(mill)
    other = another(mill.database)

    def faster() -> None:
        retry_job(other, job)
        cancel_job(other, job)

    before_write(monkeypatch, mill.database, 1, faster)
    with pytest.raises(UsageError, match="was cancelled in the meantime"):
        retry_job(mill.database, job)
    assert mill.status(job) == JobStatus.CANCELLING  # its texts are before the classifier
    mill.work_off()
    assert mill.status(job) == JobStatus.CANCELLED


def test_a_cancel_is_not_undone_by_a_rescore_that_began_before_it(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    job = mill.submit(4, batch_size=2)
    mill.finish(mill.claim())
    mill.finish_texts(mill.claim_texts())
    other = another(mill.database)
    before_write(monkeypatch, mill.database, 1, lambda: cancel_job(other, job))
    with pytest.raises(UsageError, match="was cancelled in the meantime"):
        rescore_job(mill.database, job)
    assert mill.status(job) == JobStatus.CANCELLED


def test_a_retry_looks_at_batches_with_something_to_take_up_once_each(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once began at the first prompt for each new batch, under the write lock: a large job took minutes."""
    monkeypatch.setattr(requeue, "LOOK_PROMPTS", 8)
    job = mill.submit(40, batch_size=4, safety="none")
    for _ in range(3):
        mill.finish(mill.claim())
    cancel_job(mill.database, job)
    cancelled = [row.id for row in mill.batches(job) if row.cancelled]
    looked: list[int] = []
    real = requeue._batches

    def seen(rows: Iterator[Any], batch_size: int) -> Iterator[list[Any]]:
        for batch in real(rows, batch_size):
            looked.extend(row.batch_id for row in batch)
            yield batch

    monkeypatch.setattr(requeue, "_batches", seen)
    assert retry_job(mill.database, job).prompts == 28
    assert looked == [batch for batch in cancelled for _ in range(4)]
    assert [row.prompts for row in mill.batches(job) if row.status == BatchStatus.PENDING] == [4] * 7
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED


def test_texts_are_put_back_a_chunk_at_a_time_each_once(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "CHUNK_TEXTS", 2)
    job, outputs = unscored_job(mill, 5)
    assert requeue_texts(mill.database, get_job(mill.database, job)) == len(outputs)
    assert safety(mill, job) == ["waiting"] * 5
    with mill.database.read() as connection:
        assert connection.scalars(select(Batch.status).where(Batch.job_id == job)).all() == [BatchStatus.GENERATED]
