"""Row 13: workers told to leave, by SIGTERM to the parent or to the process with the model, while they are at work."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.chaos.faults.killed_workers import holds_work
from bench.chaos.stack import GRACE_SECONDS, Worker, is_running
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch, percentile

WORKERS = 2
GROUP_TEXTS = 32
"""What the program saves together (worker/tasks/generate.py)."""
MAX_WORK_SECONDS = 0.5
"""Seconds that a worker works on before it is told, drawn anew for each."""


@dataclass(slots=True)
class Leaving:
    """A worker that was told to leave."""

    worker: Worker
    child: psutil.Process
    name: str
    since: float
    parent_told: bool
    took: float | None = None  # seconds until its process with the model was gone


def attack(trial: Trial) -> None:
    stack, stops = trial.stack, trial.size(25, 2)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    file, seed = trial.prompts(trial.size(3900, 3100)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    job = trial.submit_beside(calm, file, seed)
    thrown_before = _thrown_away(trial)  # a stack that other rows used before
    leaving: list[Leaving] = []
    with Watch(stack.sql) as watch:
        while len(leaving) < stops or any(one.took is None for one in leaving):
            stack.ensure_workers(WORKERS)
            if trial.job_status(job) == "completed":
                job = trial.submit_beside(calm, file, seed)
            if len(leaving) < stops:
                leaving += _tell_one(trial, watch, {one.child.pid for one in leaving})
            _note_gone(leaving)
            time.sleep(0.01)
        trial.wait_until_over(job, workers=WORKERS)
    thrown = {name: texts - thrown_before.get(name, 0) for name, texts in _thrown_away(trial).items()}
    _check(trial, leaving, thrown)
    trial.measure()
    trial.judge()


def _tell_one(trial: Trial, watch: Watch, leaving: set[int]) -> list[Leaving]:
    """Tells a worker that holds work to leave, where there is one."""
    holding = [(worker, worker.child) for worker in trial.stack.workers if holds_work(worker, watch)]
    staying = [(worker, child) for worker, child in holding if child is not None and child.pid not in leaving]
    if not staying:
        return []
    worker, child = trial.random.choice(staying)
    time.sleep(trial.random.uniform(0, MAX_WORK_SECONDS))
    name, parent_told = worker.worker_id(child), trial.random.random() < 0.5
    if name is None or not worker.alive:
        return []
    if parent_told:
        worker.parent.terminate()
    else:
        child.terminate()
    return [Leaving(worker, child, name, time.monotonic(), parent_told)]


def _note_gone(leaving: list[Leaving]) -> None:
    for one in leaving:
        if one.took is None and not is_running(one.child):
            one.took = time.monotonic() - one.since


def _thrown_away(trial: Trial) -> dict[str, int]:
    """Texts that were finished and reached no save, by worker."""
    return {one.worker: one.completions - one.saved for one in trial.stack.faults.counts()}


def _check(trial: Trial, leaving: list[Leaving], thrown: dict[str, int]) -> None:
    took = [one.took or 0.0 for one in leaving]
    late = [f"{seconds:.1f} s" for seconds in took if seconds > GRACE_SECONDS]
    trial.check(f"each left within the grace period of {GRACE_SECONDS:.0f} s", not late, ", ".join(late))
    bad = [f"{status}" for one in leaving if one.parent_told and (status := _status(one.worker)) != 0]
    trial.check("a worker that is told to leave ends with status 0", not bad, ", ".join(bad))
    lost = {one.name: thrown.get(one.name, 0) for one in leaving}
    mismatches = [f"{name}: {texts}" for name, texts in lost.items() if texts > GROUP_TEXTS]
    trial.check("each threw away at most one group of finished texts", not mismatches, ", ".join(mismatches))
    trial.figure("told to leave", len(leaving))
    trial.figure("finished texts thrown away, most", max(lost.values(), default=0))
    trial.figure("left after, s, p50", percentile(took, 50))
    trial.figure("left after, s, longest", max(took))


def _status(worker: Worker) -> int | None:
    with suppress(Exception):
        return worker.parent.wait(GRACE_SECONDS)
    return None


ROW = Row(
    number=13,
    fault="SIGTERM to a worker or to its process with the model, under load, 25 times on each database",
    promise="leaves within the grace period; at most one group of outputs computed again",
    attack=attack,
    environment={"INKMILL_LEASE_SECONDS": "10"},  # a lease that runs out on a busy machine throws texts away too
    note="INKMILL_LEASE_SECONDS 10; a text that is not finished when its worker leaves is begun again",
)
