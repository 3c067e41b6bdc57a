"""Row 14: the engine's thread hangs, the scorer's thread hangs, with and without Python's global lock in its hand."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from bench.chaos.load import Load
from bench.chaos.trial import Row, Trial

STEP_SECONDS, SLACK_SECONDS = 4.0, 3.0
"""What a step may take in this row, and what the watchdog's own rhythm and a loaded machine add to it."""
FOREVER = "3600"
TIMEOUT_SECONDS = 60.0
WORKERS = 2
POINTS = ("before-generate-step", "before-score-group")
LIMITS = {"sleep": STEP_SECONDS, "hold-the-gil": 2 * STEP_SECONDS}
"""What is stated: a hang that lets other threads run is seen by the watchdog, any other by a timer outside Python."""


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(4600, 1200), workers=WORKERS)
    noticed: dict[str, list[float]] = {action: [] for action in LIMITS}
    times = trial.size(4, 2)  # each thread, with and without the lock
    for number in range(times):
        action = list(LIMITS)[number // 2 % 2] if not trial.short else "sleep"
        seconds = _hang(trial, load, POINTS[number % 2], action)
        if seconds is not None:
            noticed[action].append(seconds)
    load.finish()
    made = sum(map(len, noticed.values()))
    trial.check(f"{times} hangs were made", made == times, f"{made}")
    for action, limit in LIMITS.items():
        worst = max(noticed[action], default=0.0)
        trial.figure(f"{action}: noticed after, s, longest", worst)
        trial.check(f"{action}: noticed within {limit:.0f} s (and {SLACK_SECONDS:.0f})", worst <= limit + SLACK_SECONDS)
    load.judge()


def _hang(trial: Trial, load: Load, point: str, action: str) -> float | None:
    """Has one step hang. Returns how long its process lived on; None where nobody came by."""
    faults = trial.stack.faults
    load.sustain()
    trial.stack.wait_until_ready(WORKERS)  # a step that a process makes while it loads is not watched
    faults.arm(point, action=action, argument=FOREVER, skip=trial.random.randint(0, 5))
    with ThreadPoolExecutor(1) as pool:
        # Beside the load: to submit a job takes longer than what is measured here.
        measured = pool.submit(_lived_on, trial, point)
        while not measured.done():
            load.sustain()
            time.sleep(0.05)
    return measured.result()


def _lived_on(trial: Trial, point: str) -> float | None:
    triggered = trial.stack.faults.wait_for(point, TIMEOUT_SECONDS)
    if triggered is None:
        return None
    while psutil.pid_exists(triggered.pid) and time.monotonic() - triggered.at < TIMEOUT_SECONDS:
        time.sleep(0.05)
    return time.monotonic() - triggered.at


ROW = Row(
    number=14,
    fault="the engine's thread hangs, the scorer's thread hangs; with and without Python's global lock in its hand",
    promise="noticed within the stated time, restarted; 0 lost, 0 double",
    attack=attack,
    environment={"INKMILL_STEP_SECONDS": str(STEP_SECONDS)},
    databases=("sqlite",),
    note="INKMILL_STEP_SECONDS 4 instead of 60",
)
