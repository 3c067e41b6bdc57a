"""Row 20: workers of one thread and of two in one job, killed in turn: its texts depend on neither."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from bench.chaos.faults.killed_workers import holds_work
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

FIRST, SECOND = "2", "1"
"""Threads of the worker that begins the job, and of the one that joins it."""


def attack(trial: Trial) -> None:
    stack, kills = trial.stack, trial.size(12, 2)
    stack.stop_workers()
    ensure_thread_workers(trial, FIRST)
    stack.wait_until_ready(1)
    job = trial.submit(trial.prompts(trial.size(8000, 2500)))
    while trial.progress_of(job) <= 0:  # the first one begins it, as it began the undisturbed run
        time.sleep(0.02)
    with Watch(stack.sql) as watch:
        for number in range(kills):
            kill_one(trial, watch, job, (number + 1) / (kills + 1))
        while trial.job_status(job) not in ("completed", "cancelled", "failed"):
            ensure_thread_workers(trial, FIRST, SECOND)
            time.sleep(0.05)
    trial.check("one digest of what was computed", len(distinct_values(trial, job, "numerics")) == 1)
    trial.figure("threads that wrote it", " and ".join(sorted(map(str, distinct_values(trial, job, "threads")))))
    trial.measure(watch)
    trial.judge()


def ensure_thread_workers(trial: Trial, *kinds: str) -> None:
    """Sees to it that a worker of each number of threads lives."""
    stack = trial.stack
    stack.workers = [worker for worker in stack.workers if worker.alive]
    alive = {worker.words[-1] for worker in stack.workers if worker.words}
    for threads in set(kinds) - alive:
        stack.start_worker("--threads", threads)


def kill_one(trial: Trial, watch: Watch, job: int, moment: float) -> None:
    """kill -9 on the whole of a worker that holds work, once the job has come so far."""
    while trial.job_status(job) in ("queued", "running"):
        ensure_thread_workers(trial, FIRST, SECOND)
        holding = [worker for worker in trial.stack.workers if holds_work(worker, watch)]
        if holding and trial.progress_of(job) >= moment:
            victim = trial.random.choice(holding)
            child, name = victim.child, victim.worker_id(victim.child) if victim.child else None
            with suppress(psutil.NoSuchProcess):
                victim.parent.kill()
                if child is not None:
                    child.kill()
            if name:
                watch.note_death(name)
            return
        time.sleep(0.02)


def distinct_values(trial: Trial, job: int, column: str) -> set[object]:
    """The different values of what made a job's outputs."""
    query = f"SELECT DISTINCT p.{column} FROM outputs o JOIN provenances p ON p.id = o.provenance_id WHERE o.job_id = ?"
    return {value for (value,) in trial.stack.sql.query(query, [job])}


ROW = Row(
    number=20,
    fault="a worker of two threads begins a job, one of one thread joins it, and both are killed in turn, 12 times",
    promise="each text as undisturbed; what computes other bits takes no part; 0 lost, 0 double",
    attack=attack,
)
