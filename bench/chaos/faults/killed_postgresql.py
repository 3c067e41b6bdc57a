"""Row 5: PostgreSQL killed again and again: its first process, all of them at once, or one that serves a client."""

from __future__ import annotations

import time

from bench.chaos.load import Load
from bench.chaos.servers import PostgresServer
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import percentile

RETURN_SECONDS = 30.0
LONG_SECONDS, SHORT_SECONDS = 600.0, 20.0
WAYS = ("its first process", "all processes", "a client's process")


def attack(trial: Trial) -> None:
    assert trial.stack.postgres is not None
    load = Load(trial, trial.size(11_600, 1200))
    waits: list[float] = []
    kills = dict.fromkeys(WAYS, 0)
    end = time.monotonic() + (SHORT_SECONDS if trial.short else LONG_SECONDS)
    while time.monotonic() < end:
        load.run_for(trial.random.uniform(5, 40) if not trial.short else trial.random.uniform(1, 3))
        way = trial.random.choice(WAYS)
        kill(trial, trial.stack.postgres, way)
        kills[way] += 1
        waits.append(load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain))
    load.finish()
    for way, times in kills.items():
        trial.figure(f"killed: {way}", times)
    trial.figure("goes on after its return, s, p50", percentile(waits, 50))
    trial.figure("goes on after its return, s, longest", max(waits))
    trial.check("PostgreSQL was killed", sum(kills.values()) > 1)
    late = [round(wait, 1) for wait in waits if wait > RETURN_SECONDS]
    trial.check(f"work goes on within {RETURN_SECONDS:.0f} s of its return", not late, f"{late}" if late else "")
    load.judge()


def kill(trial: Trial, postgres: PostgresServer, way: str) -> None:
    """Kills it in one of the WAYS, and has it answer again a moment later."""
    if way == "a client's process" and postgres.kill_backend(trial.random):
        time.sleep(0.5)
        postgres.until_answers()
        return
    if way == "its first process":
        postgres.kill()
    else:
        postgres.crash()
    time.sleep(trial.random.uniform(0, 3))
    postgres.start()


ROW = Row(
    number=5,
    fault="PostgreSQL killed every 5 to 40 s for 10 minutes: its first process, all of them, or a client's",
    promise="0 lost, 0 double",
    attack=attack,
    databases=("postgresql",),
)
