"""Row 10: memory runs out, as torch says it and as the kernel ends it."""

from __future__ import annotations

import re
import time

from bench.chaos.load import Load
from bench.chaos.memory import MemoryLimit, can_limit, memory_limit
from bench.chaos.stack import Worker
from bench.chaos.trial import Row, Trial

LIMIT_MB = 3500
"""Room for two workers of the demonstration model, and some."""
ENGINE, SCORER = "before-generate-step", "before-score-group"
OUT = "torch.OutOfMemoryError"
LASTS_SECONDS, RETURN_SECONDS = 6.0, 30.0


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(4600, 1600))
    _lasting(trial, load)
    _torch(trial, load, trial.size(15, 3))
    if can_limit():
        with memory_limit(LIMIT_MB) as limit:
            _kernel(trial, load, limit, trial.size(5, 1))
    else:
        trial.figure("kills by the kernel", "not made here: no control group of memory that may be written")
    load.finish()
    load.judge()


def _lasting(trial: Trial, load: Load) -> None:
    """Somebody else holds the memory for a while: every step and every scored group of one worker says so."""
    faults, worker = trial.stack.faults, trial.random.choice(trial.stack.workers)
    child, children = worker.child, trial.stack.children()
    assert child is not None
    name = worker.worker_id(child)
    for point in (ENGINE, SCORER):
        faults.arm(point, "raise", OUT, only_pid=child.pid, permanent=True)
    patience = time.monotonic() + RETURN_SECONDS
    while _points_triggered(trial, child.pid) < {ENGINE, SCORER} and time.monotonic() < patience:
        load.run_for(0.2)
    load.run_for(LASTS_SECONDS)
    for point in (ENGINE, SCORER):
        faults.disarm(point)
    points, changes = _points_triggered(trial, child.pid), _slots(worker)
    trial.check("a worker had no memory to write with, nor to score", points == {ENGINE, SCORER}, f"{points}")
    trial.check("it halved its slots", any(slots == had // 2 for had, slots in changes), f"{changes[:7]}")
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, lambda: _completed(trial, name))
    trial.figure("its next text, s after there was memory", wait)
    trial.check(f"it goes on within {RETURN_SECONDS:.0f} s of the memory", wait <= RETURN_SECONDS)
    trial.check("no process ended over it", trial.stack.children() == children)
    # It would have few slots for long, none of which could be halved any more.
    worker.parent.terminate()
    worker.parent.wait(RETURN_SECONDS)
    load.sustain()
    trial.stack.wait_until_ready(len(trial.stack.workers))


def _completed(trial: Trial, name: str | None) -> int:
    return sum(counted.completions for counted in trial.stack.faults.counts() if counted.worker == name)


def _points_triggered(trial: Trial, pid: int) -> set[str]:
    return {triggered.point for triggered in trial.stack.faults.triggered() if triggered.pid == pid}


def _slots(worker: Worker) -> list[tuple[int, int]]:
    """Every change of a worker's slots that its log tells: how many it had, and how many then."""
    changes = re.findall(r"before=(\d+) slots=(\d+)", worker.log.read_text(errors="replace"))
    return [(int(before), int(slots)) for before, slots in changes]


def _torch(trial: Trial, load: Load, times: int) -> None:
    """A step of the engine, or a group of the scorer, says that memory is out."""
    count, before = 0, {worker.log: len(_slots(worker)) for worker in trial.stack.workers}
    for _ in range(times):
        load.sustain()
        point = trial.random.choice((ENGINE, ENGINE, ENGINE, SCORER))
        skip = trial.random.randint(0, 40 if point == ENGINE else 2)
        trial.stack.faults.arm(point, "raise", OUT, skip=skip)
        count += trial.stack.faults.wait_for(point, 20) is not None
    trial.figure("times that torch was out of memory", count)
    trial.check("torch was out of memory while texts were written", count >= 0.8 * times, f"{count} of {times}")
    changes = [change for worker in trial.stack.workers for change in _slots(worker)[before.get(worker.log, 0) :]]
    halved = [slots for had, slots in changes if slots == had // 2]
    trial.check("the slots were halved", bool(halved), f"{changes}")
    trial.figure("times that the slots were halved", len(halved))
    trial.figure("fewest slots", min(halved, default=0))


def _kernel(trial: Trial, load: Load, limit: MemoryLimit, times: int) -> None:
    """A process takes more and more until the kernel ends the largest one in its control group."""
    for worker in trial.stack.workers:
        for pid in (worker.parent.pid, *(child.pid for child in (worker.child,) if child is not None)):
            limit.add(pid)
    before = limit.kills
    for number in range(times):
        load.sustain()
        point = trial.random.choice((ENGINE, SCORER))
        trial.stack.faults.arm(point, "eat-memory", "", skip=trial.random.randint(0, 20))
        deadline = time.monotonic() + 60
        while limit.kills - before <= number and time.monotonic() < deadline:
            load.sustain()
            time.sleep(0.1)
    count = limit.kills - before
    trial.figure("kills by the kernel", count)
    trial.check(f"the kernel killed {times} times", count >= times, f"{count}")


ROW = Row(
    number=10,
    fault="out of memory: torch raising it at every step of a worker and every group that it scores for 6 s, then at "
    "a random one, 15 times; and the kernel's OOM kill, 5 times",
    promise="the slots halve and the work goes on; no innocent prompt dies, no text stays without a score",
    attack=attack,
    databases=("sqlite",),
)
