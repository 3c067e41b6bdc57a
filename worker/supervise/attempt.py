"""One attempt at a tuning: a training process under a lease, what it says saved, its end settled.

The lease is renewed while that process gives signs of life, and only then. Which tuning it is, is for `tuner` to say.
"""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from contract.errors import DatabaseUnreachable, ModelUnavailable, UsageError
from contract.settings import Settings
from contract.tunings.folder import tuning_folder
from contract.tunings.order import TuningExit
from db.session.engine import Database
from db.tuning.claims import (
    TuningClaim,
    fail_tuning,
    mark_tuning_death,
    pause_tuning,
    release_tuning,
    renew_tuning,
    settle_device,
)
from db.tuning.models import StoredModel
from db.tuning.progress import save_progress
from db.tuning.tunings import find_tuning, tuning_reference
from db.work.lease import LeaseLost
from db.work.workers import record_heartbeat
from worker.supervise.new_model import is_trained, store_model
from worker.supervise.spawn import describe_exit
from worker.supervise.training_process import FolderInUse, TrainingProcess
from worker.supervise.training_progress import TrainingProgress

LOOK_SECONDS = 0.25
SAVE_SECONDS = 2.0
RENEW_SECONDS = 5.0
"""Between two renewals at most: with one, a worker hears that its tuning was cancelled."""
HANG_STEPS = 5
"""A micro-batch may take longer than a step of writing: so many times INKMILL_STEP_SECONDS without a word is a hang."""
TRIES, TRY_SECONDS = 10, 1.0
"""So often what the system refuses is tried, in case it was short of memory or a network's file system was away."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
FAILED = "failed"
"""The code of a failure that has no name."""
T = TypeVar("T")
log = structlog.get_logger()


class Trainer(Protocol):
    """The worker, as far as an attempt has to know it."""

    config: Settings
    worker: str  # the id under which the tuning was claimed
    stopping: Callable[[], bool]  # whether it was told to stop
    tend: Callable[[], object]  # what else it has to see to, several times a second
    refused: set[int]  # the tunings that cannot go on with its device

    def start(self, claim: TuningClaim, folder: Path) -> TrainingProcess:
        """Starts the process that trains under a claim.

        Raises:
            UsageError: its order is not one that this version understands.
            FolderInUse: another one works there.
            OSError: it cannot be started.
        """


class Attempt:
    """One worker's work on a tuning, from its claim to its end or its return."""

    def __init__(self, trainer: Trainer, database: Database, claim: TuningClaim) -> None:
        self._trainer, self._database, self._claim = trainer, database, claim
        self._folder = tuning_folder(trainer.config.models_folder, claim.folder)
        self._log = log.bind(tuning=tuning_reference(claim.tuning_id))
        self._progress = TrainingProgress(find_tuning(database, claim.tuning_id).progress)
        self._wanted = True  # until the lease is lost, or the tuning cancelled
        self._told_to_stop_at: float | None = None
        self._hung = False
        self._renewed_at = self._saved_at = time.monotonic()

    def run(self) -> None:
        """Trains, or only stores the model where that is what was left to do.

        Raises:
            LeaseLost: another worker has it now.
        """
        if is_trained(self._folder):  # by a worker that was killed before it could record the model
            self._store()
            return
        try:
            process = self._started()
        except UsageError as error:
            self._end(fail_tuning, f"its order cannot be used: {error}")
            return
        except OSError as error:
            self._give_up("its training process cannot be started", error)
            return
        if process is None:
            self._patiently(lambda: release_tuning(self._database, self._claim))
            return
        try:
            status = self._follow(process)
        finally:
            process.close()
        self._save()
        self._settle(status)

    def _started(self) -> TrainingProcess | None:
        """The process; None where this worker is told to stop, or the tuning is unwanted, before there could be one.

        Raises:
            UsageError: its order is not one that this version understands.
            OSError: the disk is full, or the system refuses it again and again.
        """
        told, refused = "", 0
        while not self._trainer.stopping() and self._wanted:
            try:
                return self._trainer.start(self._claim, self._folder)
            except FolderInUse:
                why = "that of an earlier worker has not ended yet"
            except OSError as error:  # no memory for a process, say
                refused += 1
                if error.errno in DISK_FULL or refused == TRIES:
                    raise
                why = str(error)
            if why != told:
                self._log.warning("cannot start the training process; trying again every second", why=why)
                told = why
            self._wait()
        return None

    def _wait(self) -> None:
        """Before the next try; the lease is kept meanwhile."""
        time.sleep(TRY_SECONDS)
        self._trainer.tend()
        self._renew()

    def _follow(self, process: TrainingProcess) -> int:
        """Listens until the process has ended. Returns its exit status."""
        while (status := process.exit_status()) is None:
            self._hear(process, LOOK_SECONDS)
            self._trainer.tend()
            self._watch(process)
            if time.monotonic() - self._renewed_at > min(self._trainer.config.lease_seconds / 4, RENEW_SECONDS):
                self._renew()
            if time.monotonic() - self._saved_at > SAVE_SECONDS:
                self._save()
        self._hear(process, 0)
        return status

    def _hear(self, process: TrainingProcess, patience: float) -> None:
        for event in process.events(patience):
            self._progress.hear(event)

    def _watch(self, process: TrainingProcess) -> None:
        """Ends a process that hangs, and one that is to stop: in order, or after a while by force."""
        now, config = time.monotonic(), self._trainer.config
        if self._told_to_stop_at is None and (self._trainer.stopping() or not self._wanted):
            self._told_to_stop_at = now
            process.send_signal(signal.SIGTERM)
        late = self._told_to_stop_at is not None and now - self._told_to_stop_at > config.grace_seconds
        self._hung = process.silent_seconds() > HANG_STEPS * config.step_seconds
        if self._hung or late:
            self._log.warning("the training process gives no sign of life, or does not end; killed")
            process.send_signal(signal.SIGKILL)

    def _renew(self) -> None:
        """Prolongs the lease. It is called only while the process lives and is not found to hang."""
        self._renewed_at = time.monotonic()
        try:
            record_heartbeat(self._database, self._trainer.worker)
            if self._wanted and not renew_tuning(self._database, self._claim, self._trainer.config.lease_seconds):
                self._log.info("cancelled, or taken over by another worker")
                self._wanted = False
        except DatabaseUnreachable as error:
            self._log.warning("the lease could not be renewed; trying again", error=str(error))

    def _save(self) -> None:
        """Stores what is new. What cannot be stored now is stored later."""
        self._saved_at = time.monotonic()
        unsaved = self._progress.unsaved()
        if unsaved is None:
            return
        try:
            if self._progress.device is not None:
                settle_device(self._database, self._claim, self._progress.device)
            save_progress(self._database, self._claim, *unsaved)
            self._progress.saved()
        except DatabaseUnreachable as error:
            self._log.warning("progress could not be saved; trying again", error=str(error))
        except LeaseLost:
            self._wanted = False

    def _settle(self, status: int) -> None:
        """What becomes of the tuning now that its process has ended."""
        if status == TuningExit.DONE and is_trained(self._folder):
            self._store()
        elif status == TuningExit.ELSEWHERE:  # a note of its process says why
            self._log.warning("it began on another kind of device; left to another worker")
            self._trainer.refused.add(self._claim.tuning_id)
            self._patiently(lambda: release_tuning(self._database, self._claim))
        elif status == TuningExit.DISK_FULL:
            said = self._said("the disk is full; free some space, and go on with it")
            self._end(pause_tuning, f"{said}: inkmill retry {tuning_reference(self._claim.tuning_id)}")
        elif status in (TuningExit.FAILED, TuningExit.UNREACHABLE) and self._progress.error is not None:
            self._end(fail_tuning, self._said(""))
        elif self._told_to_stop_at is not None or status == TuningExit.INTERRUPTED:
            self._patiently(lambda: release_tuning(self._database, self._claim))
        else:
            how = "hung, and was killed" if self._hung else describe_exit(status)
            self._log.warning("the training process died", how=how)
            self._patiently(lambda: mark_tuning_death(self._database, self._trainer.worker, how))

    def _said(self, otherwise: str) -> str:
        """The reason that the process gave for its end."""
        return str((self._progress.error or {}).get("text") or otherwise)

    def _give_up(self, what: str, error: OSError) -> None:
        """The system refuses something: a full disk pauses the tuning, anything else ends it."""
        if error.errno in DISK_FULL:
            retry = f"inkmill retry {tuning_reference(self._claim.tuning_id)}"
            self._end(pause_tuning, f"{what}: {error}; make room, and go on with it: {retry}", "disk_full")
        else:
            self._end(fail_tuning, f"{what}: {error}")

    def _end(self, end: Callable[..., None], reason: str, code: str | None = None) -> None:
        """Ends the tuning, or sets it aside."""
        code = code or str((self._progress.error or {}).get("code") or FAILED)
        self._log.warning("the tuning cannot go on", why=reason)
        self._patiently(lambda: end(self._database, self._claim, reason, code))

    def _store(self) -> None:
        try:
            stored = self._stored()
        except OSError as error:
            self._give_up("its model cannot be put into the store", error)
        except (ModelUnavailable, UsageError, ValueError, KeyError) as error:
            self._end(fail_tuning, f"its model cannot be put into the store: {error}")
        else:
            self._log.info("completed", model=str(stored))

    def _stored(self) -> StoredModel:
        """The model in the store.

        Raises:
            OSError: the disk is full, or the system refuses it again and again.
        """
        refused = 0
        while True:
            try:
                return self._patiently(lambda: store_model(self._database, self._claim, self._folder))
            except OSError as error:
                refused += 1
                if error.errno in DISK_FULL or refused == TRIES:
                    raise
                self._log.warning("cannot store the model; trying again every second", why=str(error))
            self._wait()

    def _patiently(self, act: Callable[[], T]) -> T:
        """Acts, waiting for a database that is away for as long as this worker is not told to stop."""
        while True:
            try:
                return act()
            except DatabaseUnreachable as error:
                if self._trainer.stopping():
                    raise
                self._log.warning("waiting for the database", error=str(error))
                time.sleep(1.0)
                self._trainer.tend()
