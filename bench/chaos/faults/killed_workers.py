"""Row 1: workers killed at random, the process that holds the model, its parent, or both at once."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from bench.chaos.stack import Worker, is_running
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2


def attack(trial: Trial) -> None:
    stack, kills = trial.stack, trial.size(100, 3)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    job = trial.submit(trial.prompts(trial.size(10_000, 6000)))
    with Watch(stack.sql) as watch:
        done = kill_at_random(trial, watch, job, kills)
        trial.wait_until_over(job, workers=WORKERS)
    trial.check(f"{kills} kills while the job ran", done == kills, f"{done}" if done != kills else "")
    trial.measure(watch)
    trial.judge()


def kill_at_random(trial: Trial, watch: Watch, job: int, kills: int) -> int:
    """Kills workers that hold work, at moments drawn from all of the job's progress. Returns how many were killed."""
    stack, done = trial.stack, 0
    moments = sorted(trial.random.uniform(0, 0.95) for _ in range(kills))
    while done < kills and trial.job_status(job) not in ("completed", "cancelled"):
        stack.ensure_workers(WORKERS)
        holding = [worker for worker in stack.workers if holds_work(worker, watch)]
        if holding and trial.progress_of(job) >= moments[done]:
            done += kill(trial, trial.random.choice(holding), watch)
        else:
            time.sleep(0.02)
    return done


def holds_work(worker: Worker, watch: Watch) -> bool:
    child = worker.child
    return child is not None and (worker.worker_id(child) or "") in watch.held()


def kill(trial: Trial, worker: Worker, watch: Watch) -> bool:
    """kill -9 on a worker's child, its parent, or both. Returns whether there was something alive to kill."""
    child, what = worker.child, trial.random.choice(("child", "parent", "both"))
    if child is None:
        return False
    parent, name = psutil.Process(worker.parent.pid), worker.worker_id(child) or ""
    victims = {"child": [child], "parent": [parent], "both": [parent, child]}[what]
    if not all(map(is_running, victims)):
        return False
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    if child in victims:
        watch.note_death(name)
    trial.figures[f"killed: {what}"] = int(trial.figures.get(f"killed: {what}", 0)) + 1
    return True


ROW = Row(
    number=1,
    fault="10,000 prompts, 100 `kill -9` of workers at random: the process with the model, its parent, or both",
    promise="0 lost, 0 double",
    attack=attack,
)
