"""Row 8: workers stopped past their lease right before they save, and woken when their work is another's."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

from bench.chaos.faults import Suffered
from bench.chaos.trial import Row, Trial

MOST_ASLEEP = 2
"""One more worker is awake, to take over what they held."""
POINTS = ("before-save-texts", "before-finish-generation", "before-save-scores", "before-finish-scoring")
SERVICE_SECONDS = 2
"""After three times as long PostgreSQL ends a transaction that pauses, and with it the locks of a stopped process."""
PATIENCE_SECONDS, WITH_THE_LOCK_SECONDS = 3.0 * SERVICE_SECONDS * MOST_ASLEEP + 4, 7.0
"""How long its work may take to be taken back: one process after another may have stopped with a lock that is in the
way. One that stopped with SQLite's write lock keeps everybody from taking anything back: it is woken sooner."""


@dataclass(slots=True)
class Stopped:
    """A process that sleeps in front of a save."""

    suffered: Suffered
    leases: dict[int, str]  # what it held: token by batch
    taken: bool = False  # all of it was taken back, or never held


@dataclass(slots=True)
class Tally:
    """How the stale saves ended."""

    refused: int = 0
    let_through: int = 0
    woken_early: int = 0
    longest: float = 0.0  # seconds until the work of one was taken back


def attack(trial: Trial) -> None:
    stack, stops = trial.stack, trial.size(25, 2)
    workers = trial.size(MOST_ASLEEP, 1) + 1
    stack.have_workers(workers)
    stack.until_ready(workers)
    file, seed = trial.prompts(trial.size(3000, 1500)), trial.random.getrandbits(40)
    calm = trial.run_undisturbed(file, seed)
    job = trial.submit_beside(calm, file, seed)
    tally, asleep, laid = Tally(), list[Stopped](), ""
    while tally.refused + tally.let_through < stops:
        if trial.job_status(job) == "completed":
            job = trial.submit_beside(calm, file, seed)
        if not laid and len(asleep) < workers - 1:
            laid = trial.random.choice(POINTS)
            stack.faults.lay(laid, action="SIGSTOP", skip=trial.random.randint(0, 2))
        if laid and not stack.faults.waits(laid):
            asleep.append(_stopped(trial, laid))
            laid = ""
        for one in [one for one in asleep if _is_due(trial, one)]:
            # Whatever lay in wait now would stop the one that is woken again, before its save is over.
            if laid and not stack.faults.take_back(laid):
                asleep.append(_stopped(trial, laid))
            laid = ""
            asleep.remove(one)
            _wake(trial, one, tally)
        time.sleep(0.02)
    for one in asleep:
        os.kill(one.suffered.pid, signal.SIGCONT)
    if laid:
        stack.faults.take_back(laid)
    trial.until_over(job, workers=workers)
    trial.figure("stale saves refused", tally.refused)
    trial.figure("taken back after, s, longest", tally.longest)
    trial.figure("woken before their work was taken back", tally.woken_early)
    through = f"{tally.let_through} went through" if tally.let_through else ""
    trial.check("every stale save was refused", not tally.let_through, through)
    if not stack.sql.sqlite:
        early = f"{tally.woken_early} never were" if tally.woken_early else ""
        trial.check("what a stopped worker held was taken back", not tally.woken_early, early)
    trial.measure()
    trial.judge()


def _stopped(trial: Trial, point: str) -> Stopped:
    suffered = trial.stack.faults.until_suffered(point, 5)
    assert suffered is not None
    held = trial.stack.sql.query(
        "SELECT b.id, b.lease_token FROM batches b JOIN workers w ON w.id = b.worker WHERE w.pid = ?", [suffered.pid]
    )
    return Stopped(suffered, dict(held))


def _is_due(trial: Trial, one: Stopped) -> bool:
    """Whether a process is to be woken: its work has been taken back, or nobody can."""
    now: dict[int, str] = dict(
        trial.stack.sql.query("SELECT id, lease_token FROM batches WHERE lease_token IS NOT NULL")
    )
    one.taken = all(now.get(batch) != token for batch, token in one.leases.items())
    patience = WITH_THE_LOCK_SECONDS if trial.stack.sql.sqlite else PATIENCE_SECONDS
    return one.taken or time.monotonic() - one.suffered.at > patience


def _wake(trial: Trial, one: Stopped, tally: Tally) -> None:
    """Wakes a process, and notes how its save went on."""
    if one.taken:
        tally.longest = max(tally.longest, time.monotonic() - one.suffered.at)
    with suppress(ProcessLookupError):
        os.kill(one.suffered.pid, signal.SIGCONT)
    outcome = _outcome(trial, one.suffered)
    if not one.taken:
        tally.woken_early += 1
    elif outcome == "LeaseLost":
        tally.refused += 1
    else:
        tally.let_through += 1
        trial.progress(f"  {one.suffered.point} of process {one.suffered.pid} ended as {outcome}; it held {one.leases}")


def _outcome(trial: Trial, suffered: Suffered) -> str | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (outcome := trial.stack.faults.outcome(suffered)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return outcome


ROW = Row(
    number=8,
    fault="workers stopped (SIGSTOP) right before a save, past their lease, and resumed; 25 times on each database",
    promise="every stale save refused; 0 lost, 0 double",
    attack=attack,
    environment={"INKMILL_SERVICE_SECONDS": str(SERVICE_SECONDS)},
    note="INKMILL_SERVICE_SECONDS 2 instead of 10",
)
