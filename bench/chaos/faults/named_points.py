"""Row 2: a worker kills itself at every named point of its work, between the statements of each save too."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from bench.chaos.fault_injection import Triggered
from bench.chaos.inside.points import MID_SCORE
from bench.chaos.stack import Worker
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2
POINTS = {
    "after-claim-generation": 0,
    "before-generate-step": 40,
    **{f"{when}-save-texts": 6 for when in ("before", "inside", "after")},
    **{f"{when}-finish-generation": 0 for when in ("before", "after")},
    "inside-finish-generation": 3,
    "after-claim-scoring": 0,
    MID_SCORE: 3,
    **{f"{when}-save-scores": 1 for when in ("before", "after")},
    "inside-save-scores": 8,
    **{f"{when}-finish-scoring": 0 for when in ("before", "after")},
    "inside-finish-scoring": 3,
    "before-publish": 1,
    "after-publish": 1,
}
"""Each point, and how often at most it is passed unharmed first, which is drawn; inside a save it counts statements."""
ARMED_SECONDS = 60.0
"""A fault that nobody met for so long is laid anew: work comes when a worker has started."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One of a campaign, drawn before the first of them: in which order they happen is the machine's doing."""

    point: str
    skip: int
    parent_too: bool


class Campaign:
    """Kills at named points, two of which lie in wait at any time, over as many jobs as that takes."""

    def __init__(self, trial: Trial, watch: Watch, each: int, points: tuple[str, ...]) -> None:
        self._watch, self._stack = watch, trial.stack
        drawn = [point for point in points for _ in range(each)]
        trial.random.shuffle(drawn)
        # Now and then the parent dies with it, and nobody marks what it held: its lease has to run out.
        self._remaining = [
            Kill(point, trial.random.randint(0, POINTS[point]), trial.random.random() < 1 / 6) for point in drawn
        ]
        self._armed: dict[str, tuple[Kill, float]] = {}
        self._children: dict[int, tuple[Worker, str]] = {}  # pid -> whose child, and its id
        self._seen = {
            triggered.name for triggered in trial.stack.faults.triggered()
        }  # of rows before, on the same stack
        self.killed: Counter[str] = Counter()

    def step(self) -> bool:
        """Lays what is next and notes what happened. Returns whether anything is left to do."""
        self._stack.ensure_workers(WORKERS)
        self._remember_children()
        for triggered in self._stack.faults.triggered():
            if triggered.name not in self._seen:
                self._seen.add(triggered.name)
                self._note(triggered)
        while len(self._armed) < WORKERS and (kill := self._next()):
            self._arm(kill, kill.skip)
        for point, (kill, since) in list(self._armed.items()):
            if time.monotonic() - since > ARMED_SECONDS and self._stack.faults.disarm(point):
                self._arm(kill, 0)
        return bool(self._remaining or self._armed)

    def _next(self) -> Kill | None:
        """What is next of the points that nothing lies at; one fault can lie at a point."""
        kill = next((kill for kill in self._remaining if kill.point not in self._armed), None)
        if kill is not None:
            self._remaining.remove(kill)
        return kill

    def _arm(self, kill: Kill, skip: int) -> None:
        self._stack.faults.arm(kill.point, skip=skip)
        self._armed[kill.point] = kill, time.monotonic()

    def _note(self, triggered: Triggered) -> None:
        self.killed[triggered.point] += 1
        kill, _ = self._armed.pop(triggered.point)
        worker, name = self._children.get(triggered.pid, (None, ""))
        self._watch.note_death(name, triggered.at)
        if worker is not None and kill.parent_too:
            worker.parent.kill()

    def _remember_children(self) -> None:
        for worker in self._stack.workers:
            child = worker.child
            if child is not None and child.pid not in self._children and (name := worker.worker_id(child)):
                self._children[child.pid] = worker, name


def attack(trial: Trial) -> None:
    stack = trial.stack
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    file, seed = trial.prompts(trial.size(2300, 800)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    points = tuple(POINTS) if not trial.short else tuple(trial.random.sample(list(POINTS), 3))
    each = trial.size(10, 1)
    with Watch(stack.sql) as watch:
        campaign = Campaign(trial, watch, each, points)
        job = trial.submit_beside(calm, file, seed)
        while campaign.step():
            if trial.job_status(job) == "completed":
                job = trial.submit_beside(calm, file, seed)
            time.sleep(0.1)
        trial.wait_until_over(job, workers=WORKERS)
    missed = {point: campaign.killed[point] for point in points if campaign.killed[point] != each}
    trial.check(f"{each} kills at each of {len(points)} points", not missed, f"{missed}" if missed else "")
    trial.measure(watch)
    trial.judge()


ROW = Row(
    number=2,
    fault="a worker kills itself at every named point: after a claim, while it generates and scores, before, inside "
    "and after each save, before and after it publishes; 10 times each on each database",
    promise="0 lost, 0 double",
    attack=attack,
)
