"""Row 8: workers stopped past their lease right before they save, and woken when their work is another's."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.chaos.fault_injection import Triggered
from bench.chaos.trial import Row, Trial

MAX_ASLEEP = 2
"""One more worker is awake, to take over what they held."""
POINTS = ("before-save-texts", "before-finish-generation", "before-save-scores", "before-finish-scoring")
SERVICE_SECONDS = 2
"""After three times as long PostgreSQL ends a transaction that pauses, and with it the locks of a stopped process."""
TIMEOUT_SECONDS = 3.0 * SERVICE_SECONDS * (MAX_ASLEEP + 1) + 4
"""How long the work of one may take to be taken back, as one after another may have stopped with a lock that is in the
way, and one more in the place of the first that is woken; and how long its save may take when it was woken."""
WITH_THE_LOCK_SECONDS = 7.0
"""One that stopped with SQLite's write lock keeps everybody from taking anything back: it is woken sooner."""


@dataclass(slots=True)
class Stopped:
    """A process that sleeps in front of a save."""

    triggered: Triggered
    leases: dict[int, str]  # what it held: token by batch
    taken_after: float | None = None  # seconds until all of it was taken back
    woken_at: float | None = None


@dataclass(slots=True)
class Tally:
    """How the stale saves ended."""

    refused: int = 0
    let_through: int = 0
    woken_early: int = 0
    longest: float = 0.0  # seconds until the work of one was taken back
    empty_handed: int = 0  # had lost what they held before they stopped: that their save is refused proves little


def attack(trial: Trial) -> None:
    stack, stops = trial.stack, trial.size(25, 2)
    workers = trial.size(MAX_ASLEEP, 1) + 1
    stack.ensure_workers(workers)
    stack.wait_until_ready(workers)
    file, seed = trial.prompts(trial.size(2300, 1200)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    job = trial.submit_beside(calm, file, seed)
    tally, asleep, armed = Tally(), list[Stopped](), ""
    while tally.refused + tally.let_through < stops and tally.empty_handed <= 4 * stops:
        if trial.job_status(job) == "completed":
            job = trial.submit_beside(calm, file, seed)
        # What lies in wait while one is woken would stop it again before its save is over.
        waking = any(stopped.woken_at is not None for stopped in asleep)
        if not (armed or waking) and len(asleep) < workers - 1:
            armed = trial.random.choice(POINTS)
            stack.faults.arm(armed, action="SIGSTOP", skip=trial.random.randint(0, 2))
        if armed and not stack.faults.is_armed(armed):
            asleep += _stopped(trial, armed, tally)
            armed = ""
        for stopped in list(asleep):
            if stopped.woken_at is not None:
                if _is_over(trial, stopped, tally):
                    asleep.remove(stopped)
            elif _is_due(trial, stopped):
                if armed and not stack.faults.disarm(armed):
                    asleep += _stopped(trial, armed, tally)
                armed = ""
                _wake(stopped)
        time.sleep(0.02)
    for stopped in asleep:
        _wake(stopped)
    trial.wait_until_over(job, workers=workers)
    trial.figure("stale saves refused", tally.refused)
    trial.figure("taken back after, s, longest", tally.longest)
    trial.figure("woken before their work was taken back", tally.woken_early)
    trial.figure("stopped with nothing in hand", tally.empty_handed)
    trial.check(f"{stops} stopped in front of a save of work in hand", tally.refused + tally.let_through >= stops)
    through = f"{tally.let_through} went through" if tally.let_through else ""
    trial.check("every stale save was refused", not tally.let_through, through)
    if not stack.sql.sqlite:
        early = f"{tally.woken_early} never were" if tally.woken_early else ""
        trial.check("what a stopped worker held was taken back", not tally.woken_early, early)
    trial.measure()
    trial.judge()


def _stopped(trial: Trial, point: str, tally: Tally) -> list[Stopped]:
    """The process that stopped at a point, with what it held; one that held nothing goes on at once."""
    triggered = trial.stack.faults.wait_for(point, 5)
    assert triggered is not None
    process, deadline = psutil.Process(triggered.pid), time.monotonic() + TIMEOUT_SECONDS
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.001)  # it takes the fault first, and stops then
    held = trial.stack.sql.query(
        "SELECT b.id, b.lease_token FROM batches b JOIN workers w ON w.id = b.worker WHERE w.pid = ?", [triggered.pid]
    )
    if not held:
        tally.empty_handed += 1
        _resume(triggered)
        return []
    return [Stopped(triggered, dict(held))]


def _is_due(trial: Trial, stopped: Stopped) -> bool:
    """Whether a process is to be woken: its work has been taken back, or nobody can."""
    now: dict[int, str] = dict(
        trial.stack.sql.query("SELECT id, lease_token FROM batches WHERE lease_token IS NOT NULL")
    )
    asleep_for = time.monotonic() - stopped.triggered.at
    if stopped.leases and all(now.get(batch) != token for batch, token in stopped.leases.items()):
        stopped.taken_after = asleep_for
    return stopped.taken_after is not None or asleep_for > (
        WITH_THE_LOCK_SECONDS if trial.stack.sql.sqlite else TIMEOUT_SECONDS
    )


def _wake(stopped: Stopped) -> None:
    _resume(stopped.triggered)
    stopped.woken_at = time.monotonic()


def _resume(triggered: Triggered) -> None:
    with suppress(ProcessLookupError):
        os.kill(triggered.pid, signal.SIGCONT)


def _is_over(trial: Trial, stopped: Stopped, tally: Tally) -> bool:
    """Whether the save of one that was woken is over; then notes how it went."""
    outcome = trial.stack.faults.outcome(stopped.triggered)
    if outcome is None and time.monotonic() - (stopped.woken_at or 0) < TIMEOUT_SECONDS:
        return False
    if stopped.taken_after is None:
        tally.woken_early += 1
        return True
    tally.longest = max(tally.longest, stopped.taken_after)
    if outcome == "LeaseLost":
        tally.refused += 1
    else:
        tally.let_through += 1
        point, pid = stopped.triggered.point, stopped.triggered.pid
        trial.progress(f"  {point} of process {pid} ended as {outcome}; it held {stopped.leases}")
    return True


ROW = Row(
    number=8,
    fault="workers stopped (SIGSTOP) right before a save, past their lease, and resumed; 25 times on each database",
    promise="every stale save refused; 0 lost, 0 double",
    attack=attack,
    environment={"INKMILL_SERVICE_SECONDS": str(SERVICE_SECONDS)},
    note="INKMILL_SERVICE_SECONDS 2 instead of 10",
)
