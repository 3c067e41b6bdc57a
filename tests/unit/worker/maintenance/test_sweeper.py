"""A sweep goes through a worker's duties in order; one that fails ends neither the worker nor the thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from contract.errors import DatabaseUnreachable
from contract.spec import JobStatus
from db.jobs.status import snapshot
from db.session.engine import Database
from db.work.claims import claim_generation
from db.work.workers import get_worker, register_worker
from worker.maintenance.sweeper import Sweeper, duties
from worker.runtime.runtime import Runtime
from worker.tasks.celery_tasks import generate_task, score_task


def test_a_dead_workers_batches_can_be_claimed_after_one_sweep(
    runtime: Runtime, submit: Callable[..., int], database: Database
) -> None:
    job = submit("a", "b", "c")
    assert claim_generation(database, runtime.ability, -1.0) is not None  # and was never heard of again
    generate_task(None)
    assert snapshot(database, job).generated == 0
    Sweeper(duties(runtime), 1.0, runtime.stopping).sweep()
    generate_task(None)
    score_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_a_sweep_records_how_fast_this_worker_writes(runtime: Runtime, database: Database) -> None:
    register_worker(database, runtime.worker, host="here", pid=1, state="starting", model="demo", dtype="fp32",
                    device="cpu", classifiers=[])  # fmt: skip
    scheduler = Sweeper(duties(runtime), 1.0, runtime.stopping)
    runtime.feeder.tokens += 100
    scheduler.sweep()
    found = get_worker(database, runtime.worker)
    assert found is not None
    assert (found.state, found.classifiers) == ("ready", ["demo"])
    assert found.tokens_per_second > 0
    assert found.memory_mb > 1
    scheduler.sweep()
    found = get_worker(database, runtime.worker)
    assert found is not None and found.tokens_per_second == 0


def test_batches_freed_in_a_sweep_are_queued_in_the_same_sweep(runtime: Runtime) -> None:
    names = [getattr(duty, "func", duty).__qualname__ for duty in duties(runtime)]
    assert names.index("rescue_leases") < names.index("top_up_queues")
    assert names.index("RetryRescuer.run") < names.index("top_up_queues")


@pytest.mark.parametrize("error", [DatabaseUnreachable("it is away"), RuntimeError("a bug")])
def test_a_duty_that_fails_is_tried_again_at_the_next_sweep(error: Exception) -> None:
    done, stopping = [], threading.Event()

    def first() -> None:
        done.append("first")
        if done == ["first"]:
            raise error

    def last() -> None:
        done.append("last")
        stopping.set()

    scheduler = Sweeper([first, last], 0.01, stopping)
    scheduler.start()
    assert stopping.wait(10)
    assert done == ["first", "first", "last"]
