"""Tunings in the hands of a worker's parent: one is claimed when no process with a model is left, and worked on by an
`attempt`.

How a model is trained is for `worker.tuning` to know. One thread does all of this, because the parent forks.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from contract.errors import DatabaseUnreachable
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY
from contract.settings import Settings, write_private
from contract.tunings.folder import ORDER
from contract.tunings.order import TuningOrder
from db.session.engine import Database
from db.tuning.claims import (
    TuningClaim,
    claim_tuning,
    sweep_tunings,
)
from db.tuning.tunings import tuning_reference
from db.work.lease import LeaseLost
from db.work.workers import record_heartbeat, register_worker
from worker.supervise.attempt import Attempt
from worker.supervise.spawn import WorkerOptions
from worker.supervise.training_process import TRAINING, TrainingProcess
from worker.tunings_here import tunings_here, why_not_here

GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""What Linux shows of NVIDIA's GPUs; the second under Windows' subsystem."""
log = structlog.get_logger()


class Tuner:
    """Trains what waits, one tuning after the other."""

    def __init__(
        self,
        options: WorkerOptions,
        config: Settings,
        *,
        stopping: Callable[[], bool],
        tend: Callable[[], object],
        program: Sequence[str] = TRAINING,
    ) -> None:
        """
        Args:
            stopping: whether this worker was told to stop.
            tend: called several times a second, for what else the parent has to see to.
            program: the training process' command line, but for its folder.
        """
        self.config, self.stopping, self.tend = config, stopping, tend
        self._options, self._program = options, program
        self.device = options.device if options.device != "auto" else likely_device()
        self.worker = uuid.uuid4().hex
        self.refused: set[int] = set()
        self._registered = False

    def train_next(self, database: Database) -> bool:
        """Trains the oldest tuning that waits and whose folder is here, until it has ended, was lost, or this worker
        is told to stop.

        Returns:
            Whether there was one.

        Raises:
            DatabaseUnreachable: where it does not answer, though it was waited for.
        """
        sweep_tunings(database)
        device, here = self._waiting(database)
        resting = "stopped" if self._options.model else "ready"
        if here or not self._options.model:
            self._announce(database, "tuning" if here else resting)
        if not here:
            return False
        claim = claim_tuning(database, self.worker, device, self.config.lease_seconds, among=here)
        if claim is None:  # another worker was quicker
            record_heartbeat(database, self.worker, state=resting)
            return False
        try:
            Attempt(self, database, claim).run()
        except LeaseLost as reason:
            log.info("stopped", tuning=tuning_reference(claim.tuning_id), why=str(reason))
        record_heartbeat(database, self.worker, state=resting)
        return True

    def _waiting(self, database: Database) -> tuple[str, list[int]]:
        """What this worker could take, and the device for which it waits. One that was told no device takes what
        belongs on a CPU too, once nothing else waits."""
        devices = [self.device, *(["cpu"] if self._options.device == "auto" and self.device != "cpu" else [])]
        for device in devices:
            waiting = tunings_here(database, self.config.models_folder, device)
            if here := [number for number in waiting if number not in self.refused]:
                return device, here
        return self.device, []

    def leave(self, database: Database) -> None:
        """This worker ends in order."""
        if self._registered:
            with suppress(DatabaseUnreachable):
                record_heartbeat(database, self.worker, state="stopped", error=None)

    def _announce(self, database: Database, state: str) -> None:
        """This worker as others see it; one with a model of its own only while it trains."""
        error = why_not_here(database, self.config.models_folder, self.device)
        if self._registered:
            record_heartbeat(database, self.worker, state=state, error=error)
            return
        options = self._options
        classifiers = [name for name in options.safety or BUILT_IN_CLASSIFIERS if name != NO_SAFETY and options.model]
        register_worker(
            database, self.worker, host=socket.gethostname(), pid=os.getpid(), state=state, model=options.model,
            dtype=options.dtype, device=self.device, classifiers=classifiers, error=error,
        )  # fmt: skip
        self._registered = True

    def start(self, claim: TuningClaim, folder: Path) -> TrainingProcess:
        """Starts the process that trains under a claim.

        Raises:
            UsageError: its order is not one that this version understands.
            FolderInUse: another one works there.
            OSError: it cannot be started.
        """
        order = TuningOrder.from_json(dict(claim.order))
        device = order.device if self._options.device == "auto" else self._options.device
        order = replace(order, device=device, threads=order.threads or self._options.threads or None)
        write_private(folder / ORDER, order.to_text())
        return TrainingProcess(folder, nice=self.config.nice, program=self._program)


def likely_device() -> str:
    """The kind of device that a worker will have that was told none, as far as is known before torch is loaded."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):  # they are hidden
        return "cpu"
    return "cuda" if any(Path(name).exists() for name in GPU_DEVICES) else "cpu"
