"""What a worker's sweeper mends without anybody's hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.spec import JobStatus
from db.jobs import reflag
from db.jobs.jobs import cancel_job, get_job
from db.jobs.reflag import half_reflagged, reflag_job
from db.jobs.requeue import requeue_prompts
from db.jobs.status import snapshot
from db.session.engine import Database
from worker.maintenance import sweeper
from worker.maintenance.sweeper import Sweeper
from worker.runtime.runtime import Runtime
from worker.tasks.celery_tasks import generate_task, score_task


def test_a_retry_that_was_killed_half_way_is_carried_on(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "RETRY_SECONDS", 0.0)
    sweeping = Sweeper(runtime)
    job = submit("a", "b", "c")
    cancel_job(database, job)
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "nobody took it up again"
    requeue_prompts(database, get_job(database, job))  # after which the command was killed
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "it may still be at work"
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.QUEUED
    generate_task(None)
    score_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_a_reflag_that_was_killed_half_way_is_carried_on_some_chunks_a_sweep(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("a", "b", "c")
    generate_task(None)
    score_task(None)
    monkeypatch.setattr(sweeper, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(sweeper, "REFLAG_CHUNKS", 1)
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 2)
    with monkeypatch.context() as patched:
        patched.setattr(reflag, "_advance", _die)
        with pytest.raises(KeyboardInterrupt):
            reflag_job(database, job, thresholds={"toxicity": 0.05}, blocklist=None)
    sweeping, flagged = Sweeper(runtime), []
    for _ in range(4):
        sweeping._sweep()
        flagged.append(snapshot(database, job).flagged)
    assert flagged == [0, 2, 3, 3], "at the first look it may still be at work"
    assert half_reflagged(database) == {}


def test_a_reflag_that_advances_between_two_looks_is_left_to_itself(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("a", "b", "c")
    generate_task(None)
    score_task(None)
    monkeypatch.setattr(sweeper, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 1)
    sweeping, advance, looks = Sweeper(runtime), reflag._advance, []

    def swept_beside(database: Database, job_id: int) -> int | None:
        done = advance(database, job_id)
        monkeypatch.setattr(reflag, "_advance", advance)
        sweeping._sweep()
        monkeypatch.setattr(reflag, "_advance", swept_beside)
        looks.append(snapshot(database, job).flagged)
        return done

    monkeypatch.setattr(reflag, "_advance", swept_beside)
    reflag_job(database, job, thresholds={"toxicity": 0.05}, blocklist=None)
    assert looks == [1, 2, 3, 3]


def _die(*words: object) -> None:
    raise KeyboardInterrupt
