"""A retry that was killed half way is carried on, after a second look at it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.spec import JobStatus
from db.jobs.jobs import cancel_job, get_job
from db.jobs.requeue import requeue_prompts
from db.jobs.status import snapshot
from db.session.engine import Database
from worker.maintenance import stalled_jobs
from worker.maintenance.retry_rescuer import RetryRescuer
from worker.runtime.runtime import Runtime
from worker.tasks.celery_tasks import generate_task, score_task


def test_a_retry_that_was_killed_half_way_is_finished(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled_jobs, "CHECK_SECONDS", 0.0)
    rescuer = RetryRescuer(database)
    job = submit("a", "b", "c")
    cancel_job(database, job)
    rescuer.run()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "nobody took it up again"
    requeue_prompts(database, get_job(database, job))  # after which the command was killed
    rescuer.run()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "it may still be at work"
    rescuer.run()
    assert snapshot(database, job).status == JobStatus.QUEUED
    generate_task(None)
    score_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED
