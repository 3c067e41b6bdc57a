"""Reflags that were killed half way are carried on, and those that are still at work are left to themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from db.jobs import reflag
from db.jobs.reflag import reflag_job, unfinished_reflags
from db.jobs.status import snapshot
from db.session.engine import Database
from worker.maintenance import reflag_rescuer, stalled_jobs
from worker.maintenance.reflag_rescuer import ReflagRescuer
from worker.runtime.runtime import Runtime
from worker.tasks.celery_tasks import generate_task, score_task


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalled_jobs, "CHECK_SECONDS", 0.0)


def test_a_reflag_that_was_killed_half_way_is_finished_a_few_chunks_a_sweep(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("a", "b", "c")
    generate_task(None)
    score_task(None)
    monkeypatch.setattr(reflag_rescuer, "CHUNKS_PER_SWEEP", 1)
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 2)
    with monkeypatch.context() as patched:
        patched.setattr(reflag, "_advance", _die)
        with pytest.raises(KeyboardInterrupt):
            reflag_job(database, job, thresholds={"toxicity": 0.05}, blocklist=None)
    rescuer, flagged = ReflagRescuer(database), []
    for _ in range(4):
        rescuer.run()
        flagged.append(snapshot(database, job).flagged)
    assert flagged == [0, 2, 3, 3], "at the first look it may still be at work"
    assert unfinished_reflags(database) == {}


def test_a_reflag_that_makes_progress_is_left_alone(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("a", "b", "c")
    generate_task(None)
    score_task(None)
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 1)
    rescuer, advance, looks = ReflagRescuer(database), reflag._advance, []

    def swept_beside(database: Database, job_id: int) -> int | None:
        done = advance(database, job_id)
        monkeypatch.setattr(reflag, "_advance", advance)
        rescuer.run()
        monkeypatch.setattr(reflag, "_advance", swept_beside)
        looks.append(snapshot(database, job).flagged)
        return done

    monkeypatch.setattr(reflag, "_advance", swept_beside)
    reflag_job(database, job, thresholds={"toxicity": 0.05}, blocklist=None)
    assert looks == [1, 2, 3, 3]


def _die(*words: object) -> None:
    raise KeyboardInterrupt
