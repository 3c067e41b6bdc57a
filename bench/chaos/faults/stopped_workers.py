"""Row 8: workers stopped past their lease right before they save, and woken when their work is another's."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bench.chaos.fault_injection import Suffered
from bench.chaos.trial import Row, Trial

MOST_ASLEEP = 2
"""One more worker is awake, to take over what they held."""
POINTS = ("before-save-texts", "before-finish-generation", "before-save-scores", "before-finish-scoring")
SERVICE_SECONDS = 2
"""After three times as long PostgreSQL ends a transaction that pauses, and with it the locks of a stopped process."""
PATIENCE_SECONDS = 3.0 * SERVICE_SECONDS * (MOST_ASLEEP + 1) + 4
"""How long the work of one may take to be taken back, as one after another may have stopped with a lock that is in the
way, and one more in the place of the first that is woken; and how long its save may take when it was woken."""
WITH_THE_LOCK_SECONDS = 7.0
"""One that stopped with SQLite's write lock keeps everybody from taking anything back: it is woken sooner."""


@dataclass(slots=True)
class Stopped:
    """A process that sleeps in front of a save."""

    suffered: Suffered
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
    workers = trial.size(MOST_ASLEEP, 1) + 1
    stack.have_workers(workers)
    stack.until_ready(workers)
    file, seed = trial.prompts(trial.size(2300, 1200)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    job = trial.submit_beside(calm, file, seed)
    tally, asleep, laid = Tally(), list[Stopped](), ""
    while tally.refused + tally.let_through < stops and tally.empty_handed <= 4 * stops:
        if trial.job_status(job) == "completed":
            job = trial.submit_beside(calm, file, seed)
        # What lies in wait while one is woken would stop it again before its save is over.
        waking = any(one.woken_at is not None for one in asleep)
        if not (laid or waking) and len(asleep) < workers - 1:
            laid = trial.random.choice(POINTS)
            stack.faults.lay(laid, action="SIGSTOP", skip=trial.random.randint(0, 2))
        if laid and not stack.faults.waits(laid):
            asleep += _stopped(trial, laid, tally)
            laid = ""
        for one in list(asleep):
            if one.woken_at is not None:
                if _is_over(trial, one, tally):
                    asleep.remove(one)
            elif _is_due(trial, one):
                if laid and not stack.faults.take_back(laid):
                    asleep += _stopped(trial, laid, tally)
                laid = ""
                _wake(one)
        time.sleep(0.02)
    for one in asleep:
        _wake(one)
    trial.until_over(job, workers=workers)
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
    suffered = trial.stack.faults.until_suffered(point, 5)
    assert suffered is not None
    process, deadline = psutil.Process(suffered.pid), time.monotonic() + PATIENCE_SECONDS
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.001)  # it takes the fault first, and stops then
    held = trial.stack.sql.query(
        "SELECT b.id, b.lease_token FROM batches b JOIN workers w ON w.id = b.worker WHERE w.pid = ?", [suffered.pid]
    )
    if not held:
        tally.empty_handed += 1
        _resume(suffered)
        return []
    return [Stopped(suffered, dict(held))]


def _is_due(trial: Trial, one: Stopped) -> bool:
    """Whether a process is to be woken: its work has been taken back, or nobody can."""
    now: dict[int, str] = dict(
        trial.stack.sql.query("SELECT id, lease_token FROM batches WHERE lease_token IS NOT NULL")
    )
    asleep_for = time.monotonic() - one.suffered.at
    if one.leases and all(now.get(batch) != token for batch, token in one.leases.items()):
        one.taken_after = asleep_for
    return one.taken_after is not None or asleep_for > (
        WITH_THE_LOCK_SECONDS if trial.stack.sql.sqlite else PATIENCE_SECONDS
    )


def _wake(one: Stopped) -> None:
    _resume(one.suffered)
    one.woken_at = time.monotonic()


def _resume(suffered: Suffered) -> None:
    with suppress(ProcessLookupError):
        os.kill(suffered.pid, signal.SIGCONT)


def _is_over(trial: Trial, one: Stopped, tally: Tally) -> bool:
    """Whether the save of one that was woken is over; then notes how it went."""
    outcome = trial.stack.faults.outcome(one.suffered)
    if outcome is None and time.monotonic() - (one.woken_at or 0) < PATIENCE_SECONDS:
        return False
    if one.taken_after is None:
        tally.woken_early += 1
        return True
    tally.longest = max(tally.longest, one.taken_after)
    if outcome == "LeaseLost":
        tally.refused += 1
    else:
        tally.let_through += 1
        trial.progress(f"  {one.suffered.point} of process {one.suffered.pid} ended as {outcome}; it held {one.leases}")
    return True


ROW = Row(
    number=8,
    fault="workers stopped (SIGSTOP) right before a save, past their lease, and resumed; 25 times on each database",
    promise="every stale save refused; 0 lost, 0 double",
    attack=attack,
    environment={"INKMILL_SERVICE_SECONDS": str(SERVICE_SECONDS)},
    note="INKMILL_SERVICE_SECONDS 2 instead of 10",
)
