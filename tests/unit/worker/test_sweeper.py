"""What a worker's sweeper mends without anybody's hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.spec import JobStatus
from db.jobs import _requeue_prompts, cancel_job, get_job
from db.session import Database
from db.status import snapshot
from worker import sweeper
from worker.runtime import Runtime
from worker.sweeper import Sweeper
from worker.tasks import generate_task, score_task


def test_a_retry_that_was_killed_half_way_is_carried_on(
    runtime: Runtime, submit: Callable[..., int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "RETRY_SECONDS", 0.0)
    sweeping = Sweeper(runtime)
    job = submit("a", "b", "c")
    cancel_job(database, job)
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "nobody took it up again"
    _requeue_prompts(database, get_job(database, job))  # after which the command was killed
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.CANCELLED, "it may still be at work"
    sweeping._sweep()
    assert snapshot(database, job).status == JobStatus.QUEUED
    generate_task(None)
    score_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED
