"""What a tuning is waiting for, in words that end with the command to type."""

from __future__ import annotations

import time
from typing import Protocol

from contract.spec import TuningStatus
from db.session.engine import Database
from db.tuning.tunings import StoredTuning, unfinished_tunings
from db.work.workers import SILENT_SECONDS, WorkerRow, get_worker, list_workers

UNTAKEN_SECONDS = 10.0
"""After this long, a tuning that nobody has taken is not just about to be."""


class Around(Protocol):
    """What is known apart from the database: `contract.waiting.surroundings`."""

    @property
    def redis(self) -> str | None:
        """Redis and why it takes no messages; None if it does."""

    def starts_worker_for_tuning(self, device: str) -> bool:
        """Whether a worker for it is started automatically."""


def tuning_waits_for(database: Database, tuning: StoredTuning, around: Around | None = None) -> str | None:
    """What keeps a tuning from going on; None if it is going on, or has finished.

    Args:
        around: what is known apart from the database; None = nothing.
    """
    if tuning.status == TuningStatus.PAUSED:
        return tuning.error or f"somebody to go on with it: inkmill retry {tuning.reference}"
    if tuning.status == TuningStatus.RUNNING:
        return _for_another_worker(database, tuning)
    if tuning.status != TuningStatus.QUEUED:
        return None
    alive = [worker for worker in list_workers(database) if worker.alive and _fits(tuning.device, worker.device)]
    able = [worker for worker in alive if not _refuses(worker, tuning)]
    if not able:
        return _for_a_worker(tuning, alive, around)
    return _for_its_turn(database, tuning, able, around)


def _for_another_worker(database: Database, tuning: StoredTuning) -> str | None:
    """A tuning in the hands of a worker that may have died with its machine."""
    holder = get_worker(database, tuning.worker or "")
    if holder is None or holder.silent < SILENT_SECONDS:
        return None
    return (
        f"its worker (process {holder.pid} on {holder.host}), which gives no sign of life; another one goes on from "
        f"the last checkpoint: {worker_command(tuning)}"
    )


def _for_a_worker(tuning: StoredTuning, refusing: list[WorkerRow], around: Around | None) -> str:
    if refusing:
        return f"a worker that has its corpus: the one on {refusing[0].host} {refusing[0].error}"
    if around is not None and around.starts_worker_for_tuning(tuning.device):
        return "its worker, which is starting"
    on = "" if tuning.device == "auto" else f" on {tuning.device}"
    return f"a worker that can train it{on}; start one: {worker_command(tuning)}"


def _for_its_turn(database: Database, tuning: StoredTuning, able: list[WorkerRow], around: Around | None) -> str | None:
    busy = {other.worker: other for other in unfinished_tunings(database) if other.worker}
    training = [busy[worker.id] for worker in able if worker.id in busy]
    if len(training) == len(able):
        first = training[0]
        return f"its turn: the worker that can train it trains {describe_running(first)}"
    if time.time() - tuning.created_at < UNTAKEN_SECONDS:
        return None
    redis = None if around is None else around.redis
    if redis and all(worker.model for worker in able):
        return redis
    if all(worker.state == "starting" for worker in able):
        return f"the worker that is to train it: it is loading {able[0].model}"
    return (
        f"its turn: the worker that can train it (process {able[0].pid} on {able[0].host}) has not taken it yet; it "
        "ends what it is writing first, or its log says why it hears nothing"
    )


def describe_running(tuning: StoredTuning) -> str:
    """A tuning that a worker has, with how far it is: "t1 (tales, step 40 of 2,000)"."""
    progress = tuning.progress or {}
    step, steps = progress.get("step"), progress.get("steps")
    far = f", step {step:,} of {steps:,}" if step and steps else ""
    return f"{tuning.reference} ({tuning.name}{far})"


def worker_command(tuning: StoredTuning) -> str:
    """The command that starts a worker for a tuning."""
    return "inkmill worker --only-tunings" + ("" if tuning.device == "auto" else f" --device {tuning.device}")


def _refuses(worker: WorkerRow, tuning: StoredTuning) -> bool:
    return (worker.error or "").startswith(f"cannot take {tuning.reference}: ")


def _fits(wanted: str, device: str) -> bool:
    """Whether a worker's device, which may not be known yet, is the one that was asked for."""
    return "auto" in (wanted, device) or wanted in (device, device.partition(":")[0])
