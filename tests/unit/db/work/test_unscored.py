"""A cancelled job whose texts nobody scores comes to its end, and its texts are never clean."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from contract.spec import BatchStatus, JobStatus
from db.jobs.jobs import cancel_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshot
from db.jobs.waiting import waiting_for
from db.models import Job
from db.work import unscored
from db.work.unscored import leave_unscored, unscorable_jobs
from db.work.workers import register_worker
from tests.unit.db.desk import Desk


def a_worker(desk: Desk, **values: Any) -> None:
    there = {"host": "here", "pid": 1, "state": "ready", "model": "demo", "dtype": "fp32", "device": "cpu"}
    register_worker(desk.database, "worker-9", **there | {"classifiers": ["original"]} | values)


def cancelled_job(desk: Desk, n: int = 1) -> int:
    """Two prompts' texts wait for their scores, two were never written."""
    job = desk.submit(4, n=n)
    desk.finish(desk.claim())
    cancel_job(desk.database, job)
    assert desk.status(job) == JobStatus.CANCELLING
    return job


@pytest.mark.parametrize("with_another", [False, True])
def test_where_nobody_scores_a_cancelled_jobs_texts_it_ends_without_scores(desk: Desk, with_another: bool) -> None:
    job = cancelled_job(desk)
    if with_another:
        a_worker(desk)
    assert unscorable_jobs(desk.database) == [job]
    leave_unscored(desk.database, job)
    assert desk.status(job) == JobStatus.CANCELLED
    assert desk.prompt_states(job) == ["done", "done", "cancelled", "cancelled"]
    assert [(row.safety, row.flag_reasons) for row in desk.outputs(job)] == [("unscored", ["unscored"])] * 2
    assert desk.exported("clean") == [] and len(desk.exported("all")) == 2
    assert unscorable_jobs(desk.database) == []


def test_a_worker_with_another_revision_of_the_classifier_keeps_no_cancelled_job_waiting(desk: Desk) -> None:
    job = cancelled_job(desk)
    with desk.database.write() as connection:
        connection.execute(update(Job).where(Job.id == job).values(served_classifier_revision="of before"))
    a_worker(desk, classifiers=["demo"], classifier_revisions={"demo": "of now"})
    waiting = waiting_for(desk.database, snapshot(desk.database, job))
    assert waiting is not None and waiting.endswith(f"finish it without scores: inkmill cancel {job}")
    leave_unscored(desk.database, job)
    assert desk.status(job) == JobStatus.CANCELLED


def test_a_retry_scores_them_after_all(desk: Desk) -> None:
    job = cancelled_job(desk)
    leave_unscored(desk.database, job)
    retried = retry_job(desk.database, job)
    assert (retried.prompts, retried.texts) == (2, 2)
    desk.work_off()
    assert desk.status(job) == JobStatus.COMPLETED
    assert len(desk.exported("clean")) == 4


def test_a_batch_of_many_texts_is_settled_a_chunk_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unscored, "CHUNK_TEXTS", 2)
    job = cancelled_job(desk, n=3)
    leave_unscored(desk.database, job, chunks=2)
    assert (snapshot(desk.database, job).unscored, desk.status(job)) == (4, JobStatus.CANCELLING)
    desk.assert_counters()
    leave_unscored(desk.database, job, chunks=2)
    assert (snapshot(desk.database, job).unscored, desk.status(job)) == (6, JobStatus.CANCELLED)


@pytest.mark.parametrize(
    "lives", [{"classifiers": ["demo"]}, {"classifiers": ["demo"], "state": "stopped", "error": "was killed"}]
)
def test_while_somebody_scores_or_is_about_to_again_they_go_on_to_scoring(desk: Desk, lives: dict[str, Any]) -> None:
    job = cancelled_job(desk)
    a_worker(desk, **lives)
    leave_unscored(desk.database, job)
    assert desk.states(job) == [BatchStatus.GENERATED, BatchStatus.CANCELLED]
    desk.finish_texts(desk.claim_texts())
    assert desk.status(job) == JobStatus.CANCELLED


def test_only_what_is_being_cancelled_is_given_up(desk: Desk) -> None:
    job = desk.submit(2)
    desk.finish(desk.claim())
    assert unscorable_jobs(desk.database) == []
    leave_unscored(desk.database, job)
    assert desk.states(job) == [BatchStatus.GENERATED]


def test_what_waits_for_a_scorer_says_how_it_ends_without_one(desk: Desk) -> None:
    job = cancelled_job(desk)
    said = waiting_for(desk.database, snapshot(desk.database, job))
    assert said is not None and said.endswith(f"or finish it without scores: inkmill cancel {job}")
