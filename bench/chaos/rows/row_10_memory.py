"""Row 10: memory runs out, as torch says it and as the kernel ends it."""

from __future__ import annotations

import re
import time

from bench.chaos.load import Load
from bench.chaos.memory import MemoryLimit, can_limit, memory_limit
from bench.chaos.trial import Row, Trial

LIMIT_MB = 3500
"""Room for two workers of the demonstration model, and some."""
ENGINE, SCORER = "before-generate-step", "before-score-group"


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(6000, 2000))
    _torch(trial, load, trial.size(15, 3))
    if can_limit():
        with memory_limit(LIMIT_MB) as limit:
            _kernel(trial, load, limit, trial.size(5, 1))
    else:
        trial.figure("kills by the kernel", "not made here: no control group of memory that may be written")
    load.finish()
    load.judge()


def _torch(trial: Trial, load: Load, times: int) -> None:
    """A step of the engine, or a group of the scorer, says that memory is out."""
    made = 0
    for _ in range(times):
        load.keep()
        point = trial.random.choice((ENGINE, ENGINE, ENGINE, SCORER))
        skip = trial.random.randint(0, 40 if point == ENGINE else 2)
        trial.stack.faults.lay(point, "raise", "torch.OutOfMemoryError", skip=skip)
        made += trial.stack.faults.until_suffered(point, 20) is not None
    trial.figure("times that torch was out of memory", made)
    trial.check("torch was out of memory while texts were written", made >= 0.8 * times, f"{made} of {times}")
    said = "".join(worker.log.read_text() for worker in trial.stack.workers)
    changes = [(int(before), int(slots)) for before, slots in re.findall(r"before=(\d+) slots=(\d+)", said)]
    halved = [slots for before, slots in changes if slots == before // 2]
    trial.check("the slots were halved", bool(halved), f"{changes}")
    trial.figure("times that the slots were halved", len(halved))
    trial.figure("fewest slots", min(halved, default=0))


def _kernel(trial: Trial, load: Load, limit: MemoryLimit, times: int) -> None:
    """A process takes more and more until the kernel ends the largest one in its control group."""
    for worker in trial.stack.workers:
        for pid in (worker.parent.pid, *(child.pid for child in (worker.child,) if child is not None)):
            limit.take(pid)
    before = limit.kills
    for number in range(times):
        load.keep()
        point = trial.random.choice((ENGINE, SCORER))
        trial.stack.faults.lay(point, "eat-memory", "", skip=trial.random.randint(0, 20))
        deadline = time.monotonic() + 60
        while limit.kills - before <= number and time.monotonic() < deadline:
            load.keep()
            time.sleep(0.1)
    made = limit.kills - before
    trial.figure("kills by the kernel", made)
    trial.check(f"the kernel killed {times} times", made >= times, f"{made}")


ROW = Row(
    number=10,
    fault="out of memory: torch raising it at a random step, 15 times, and the kernel's OOM kill, 5 times",
    promise="the slots halve and the work goes on; no innocent prompt dies",
    attack=attack,
    databases=("sqlite",),
)
