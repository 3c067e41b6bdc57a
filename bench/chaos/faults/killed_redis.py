"""Row 4: Redis killed under load, emptied again and again, and away for minutes."""

from __future__ import annotations

import time

from bench.chaos.load import Load
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import percentile

RETURN_SECONDS = 30.0
"""What the program promises: work goes on that soon after Redis is back, with no hand."""


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(6200, 2000))
    children = trial.stack.children()
    waits = _kill(trial, load, trial.size(20, 2))
    _check(trial, "a kill", waits)
    emptied = _flush(trial, load, trial.size(6, 1), pause=10.0 if not trial.short else 2.0)
    _check(trial, "a FLUSHALL", emptied)
    trial.figure("away for, s", seconds := trial.size(300, 4))
    wait = _away(trial, load, float(seconds))
    trial.figure("goes on after that, s", wait)
    trial.check(f"work goes on within {RETURN_SECONDS:.0f} s of that", wait <= RETURN_SECONDS)
    load.finish()
    trial.check("no worker's process ended over it", trial.stack.children() == children)
    load.judge()


def _check(trial: Trial, what: str, waits: list[float]) -> None:
    trial.figure(f"goes on after {what}, s, p50", percentile(waits, 50))
    trial.figure(f"goes on after {what}, s, longest", max(waits))
    late = [round(wait, 1) for wait in waits if wait > RETURN_SECONDS]
    trial.check(f"work goes on within {RETURN_SECONDS:.0f} s of {what}", not late, f"{late}" if late else "")


def _kill(trial: Trial, load: Load, kills: int) -> list[float]:
    """Kills Redis and starts it again a moment later. Returns how long it took until another batch was claimed."""
    waits, written = [], 0
    for _ in range(kills):
        load.run_for(trial.random.uniform(0.5, 3))
        # It dies right after a text was stored, and with some of its job's yet to come.
        written += load.seconds_until_progress(RETURN_SECONDS, load.sustain) <= RETURN_SECONDS and load.busy
        trial.stack.redis.kill()
        time.sleep(trial.random.uniform(0, 3))
        trial.stack.redis.start()
        load.sustain()
        waits.append(load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, trial.claimed))
    # A job may end in that very moment.
    trial.check("Redis was killed while texts were written", written >= 0.8 * kills, f"{written} of {kills} times")
    return waits


def _flush(trial: Trial, load: Load, times: int, pause: float) -> list[float]:
    """Empties Redis, again and again. Returns the longest time without a claim after each."""
    waits = []
    for _ in range(times):
        load.submit_another()  # before: to submit is to publish
        end = time.monotonic() + pause
        trial.stack.redis.client().flushall()
        waits.append(_longest_without_a_claim(trial, end))
        load.run_for(end - time.monotonic())
    return waits


def _longest_without_a_claim(trial: Trial, end: float) -> float:
    """Looks until `end`, and at least until a batch was claimed, for as long as some wait.

    The first claims may come of messages that a worker had taken before Redis was emptied; later ones do not. Infinite
    where none comes in time, or nothing waits at the start.
    """
    gaps, seen, since = list[float](), trial.claimed(), time.monotonic()
    while trial.waiting() and not (gaps and since > end):
        claimed, now = trial.claimed(), time.monotonic()
        if claimed > seen:
            gaps.append(now - since)
            seen, since = claimed, now
        elif now - since > 2 * RETURN_SECONDS:
            return float("inf")
        time.sleep(0.1)
    return max(gaps, default=float("inf"))


def _away(trial: Trial, load: Load, seconds: float) -> float:
    """Redis is away; what the workers hold ends, and then nothing happens. Returns how long work needs to go on."""
    load.submit_another()
    trial.stack.redis.kill()
    time.sleep(seconds)
    trial.stack.ensure_workers(2)
    trial.stack.redis.start()
    return load.seconds_until_progress(2 * RETURN_SECONDS, seen=trial.claimed)


ROW = Row(
    number=4,
    fault="Redis killed 20 times under load and restarted; FLUSHALL every 10 s for a minute; Redis away for 5 minutes",
    promise="0 lost, 0 double; work goes on within 30 s of its return, with no hand",
    attack=attack,
    databases=("sqlite",),
)
