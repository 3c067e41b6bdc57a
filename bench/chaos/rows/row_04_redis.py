"""Row 4: Redis killed under load, emptied again and again, and away for minutes."""

from __future__ import annotations

import time

from bench.chaos.load import Load
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import percentile

RETURN_SECONDS = 30.0
"""What the program promises: work goes on that soon after Redis is back, with no hand."""


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(8000, 2500))
    children = trial.stack.children()
    waits = _kill(trial, load, trial.size(20, 2))
    trial.check("Redis was killed while texts were written", len(waits) > 0)
    _flush(trial, load, trial.size(6, 1), pause=10.0 if not trial.short else 2.0)
    trial.figure("away for, s", seconds := trial.size(300, 4))
    waits.append(_away(trial, load, float(seconds)))
    trial.figure("goes on after that, s", waits[-1])
    load.finish()
    trial.check("no worker's process ended over it", trial.stack.children() == children)
    trial.figure("goes on after, s, p50", percentile(waits, 50))
    trial.figure("goes on after, s, longest", max(waits))
    late = [round(wait, 1) for wait in waits if wait > RETURN_SECONDS]
    trial.check(f"work goes on within {RETURN_SECONDS:.0f} s of its return", not late, f"{late}" if late else "")
    load.judge()


def _kill(trial: Trial, load: Load, kills: int) -> list[float]:
    """Kills Redis and starts it again a moment later. Returns how long it took until another batch was claimed."""
    waits = []
    for _ in range(kills):
        load.during(trial.random.uniform(0.5, 3))
        trial.stack.redis.kill()
        time.sleep(trial.random.uniform(0, 3))
        trial.stack.redis.start()
        load.keep()
        waits.append(load.seconds_until_progress(2 * RETURN_SECONDS, load.keep, trial.claimed))
    return waits


def _flush(trial: Trial, load: Load, times: int, pause: float) -> None:
    for _ in range(times):
        trial.stack.redis.client().flushall()
        load.during(pause)


def _away(trial: Trial, load: Load, seconds: float) -> float:
    """Redis is away; what the workers hold ends, and then nothing happens. Returns how long work needs to go on."""
    load.more()
    trial.stack.redis.kill()
    time.sleep(seconds)
    trial.stack.have_workers(2)
    trial.stack.redis.start()
    return load.seconds_until_progress(2 * RETURN_SECONDS, seen=trial.claimed)


ROW = Row(
    number=4,
    fault="Redis killed 20 times under load and restarted; FLUSHALL every 10 s for a minute; Redis away for 5 minutes",
    promise="0 lost, 0 double; work goes on within 30 s of its return, with no hand",
    attack=attack,
    databases=("sqlite",),
)
