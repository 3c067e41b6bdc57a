"""Row 15: a soak. Workers, Redis and PostgreSQL are killed in turn while one worker is left alone and measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

import psutil

from bench.chaos.faults.killed_postgresql import WAYS, kill
from bench.chaos.load import Load
from bench.chaos.stack import Worker
from bench.chaos.trial import Row, Trial

REDIS_MB = 50.0
GROWTH_MB, GROWTH_FILES = 40.0, 10
"""What may be more at the end than after the first fifth, nine minutes before: five megabytes a minute are more."""
SAMPLE_SECONDS = 5.0


@dataclass
class Sizes:
    """What was measured, in order."""

    memory: list[float] = field(default_factory=list)  # MB, of the process with the model
    files: list[int] = field(default_factory=list)  # its file descriptors
    parent: list[float] = field(default_factory=list)  # MB, of its parent
    redis: list[float] = field(default_factory=list)  # MB

    def record(self, trial: Trial, worker: Worker) -> None:
        child = worker.child
        if child is not None:
            self.memory.append(child.memory_info().rss / 2**20)
            self.files.append(child.num_fds())
        self.parent.append(psutil.Process(worker.parent.pid).memory_info().rss / 2**20)
        memory_info = cast("dict[str, Any]", trial.stack.redis.client().info("memory"))
        self.redis.append(float(memory_info["used_memory"]) / 2**20)


def attack(trial: Trial) -> None:
    minutes = float(os.environ.get("SOAK", "15")) if not trial.short else 0.5
    load = Load(trial, trial.size(11_600, 1200))
    untouched, sizes = trial.stack.workers[0], Sizes()
    children = {untouched.child}
    end = time.monotonic() + 60 * minutes
    faults = {"a worker": 0, "Redis": 0, "FLUSHALL": 0, "PostgreSQL": 0}
    while time.monotonic() < end:
        for _ in range(trial.random.randint(1, 4)):
            if time.monotonic() < end:
                load.run_for(SAMPLE_SECONDS)
                sizes.record(trial, untouched)
        what = trial.random.choice(list(faults))
        faults[what] += 1
        _break(trial, load, what, untouched)
        children.add(untouched.child)
    load.finish()
    for what, times in faults.items():
        trial.figure(f"killed: {what}", times)
    trial.check("the process that is measured was one and the same", len(children) == 1)
    _flat(trial, "memory, MB", sizes.memory, GROWTH_MB)
    _flat(trial, "file descriptors", list(map(float, sizes.files)), GROWTH_FILES)
    _flat(trial, "parent's memory, MB", sizes.parent, GROWTH_MB)
    trial.figure("Redis, MB, most", max(sizes.redis))
    trial.check(f"Redis stays under {REDIS_MB:.0f} MB", max(sizes.redis) < REDIS_MB)
    load.judge()


def _break(trial: Trial, load: Load, what: str, untouched: Worker) -> None:
    stack = trial.stack
    assert stack.postgres is not None
    if what == "a worker":
        victim = next(worker for worker in stack.workers if worker is not untouched)
        child = victim.child
        if child is not None:
            child.kill()
    elif what == "Redis":
        stack.redis.kill()
        time.sleep(trial.random.uniform(0, 3))
        stack.redis.start()
    elif what == "FLUSHALL":
        stack.redis.client().flushall()
    else:
        kill(trial, stack.postgres, trial.random.choice(WAYS))


def _flat(trial: Trial, name: str, values: list[float], growth: float) -> None:
    """After the first fifth, in which caches fill, there is no growth to speak of."""
    fifth = max(1, len(values) // 5)
    early, late = median(values[fifth : 2 * fifth] or values), median(values[-fifth:])
    trial.figure(f"{name}, early", early)
    trial.figure(f"{name}, late", late)
    trial.check(f"{name}: flat", late - early <= growth, f"{early:.0f} to {late:.0f}")


ROW = Row(
    number=15,
    fault="a soak: 15 minutes (SOAK=60: an hour) of short prompts; workers, Redis and PostgreSQL killed in turn",
    promise="memory and file descriptors flat, Redis under 50 MB, 0 lost, 0 double",
    attack=attack,
    databases=("postgresql",),
)
