"""Row 12: the wall clock of the workers and of the database is stepped by an hour, forwards and backwards."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from bench.chaos.clock import FalseClock, can_compile
from bench.chaos.load import Load
from bench.chaos.trial import Row, Trial

HOUR = 3600
SEEN_SECONDS, FRESH_SECONDS = 60.0, 5.0


def attack(trial: Trial) -> None:
    if not can_compile():
        trial.check("there is a C compiler, for the library that steps the clock", False)
        return
    postgres = trial.stack.postgres
    clock = FalseClock(trial.stack.folder if postgres is None else postgres.folder)
    trial.stack.environment |= clock.environment
    if postgres is not None:
        postgres.halt()
        postgres.environment |= clock.environment
        postgres.start()
    load = Load(trial, trial.size(4600, 1200))
    seen = []
    for before, offset in [(0, HOUR), (HOUR, 0), (0, -HOUR), (-HOUR, 0)]:
        load.run_for(trial.random.uniform(1, 4))
        clock.step(offset)
        load.run_for(trial.random.uniform(0, 2))
        seen.append(_seen(trial, load, offset))
        _kill_one(trial, both=offset > before)
        load.run_for(trial.random.uniform(1, 4))
    trial.check("the workers saw each step", all(seen), f"{seen}")
    trial.figure("steps of an hour", len(seen))
    load.finish()
    load.judge(clock=False)


def _seen(trial: Trial, load: Load, offset: int) -> bool:
    """Whether a worker soon gives a sign of life with a time that is so far off the true one."""
    end = time.monotonic() + SEEN_SECONDS
    while time.monotonic() < end:
        load.run_for(0.5)
        signs = trial.stack.sql.query("SELECT last_seen FROM workers")
        if any(abs(float(seen) - time.time() - offset) < FRESH_SECONDS for (seen,) in signs):
            return True
    return False


def _kill_one(trial: Trial, *, both: bool) -> None:
    """kill -9 on a worker's child. Where its parent goes with it, only the lease brings its work back: not for an hour
    where the clock went back, which is what a lease by the clock costs."""
    worker = trial.random.choice(trial.stack.workers)
    child = worker.child
    with suppress(psutil.NoSuchProcess):
        if both:
            worker.parent.kill()
        if child is not None:
            child.kill()


ROW = Row(
    number=12,
    fault="the wall clock of workers and database stepped by an hour, forwards and backwards, 4 times on each "
    "database, and a worker killed after each",
    promise="0 lost, 0 double",
    attack=attack,
    note="by a library in their processes: the machine's own clock stays",
)
