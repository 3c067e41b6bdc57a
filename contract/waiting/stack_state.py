"""What the local stack of a home is and was asked for: what `stack.json` says to whoever asks what a job waits for.

`inkmill.local.stack` writes it, under a lock; to read it needs none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from common.processes import Process, cores
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedWorker:
    """A worker that some command asked for."""

    model: str  # "" = it loads none, and only trains
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0  # 0 = the cores that its daemon may use
    safety: tuple[str, ...] = ()
    failed: bool = False  # its model or classifier could not be loaded

    @classmethod
    def for_job(cls, job: Any) -> WantedWorker:
        """The one that a job needs."""
        threads = job.served_threads or 0
        return cls(model=job.model, device=job.device, dtype=job.dtype, threads=threads, safety=(job.safety,))

    @classmethod
    def for_tuning(cls, device: str, threads: int | None = None) -> WantedWorker:
        """One that only trains, where no other could."""
        return cls(model="", device=device, threads=threads or 0)

    def trains(self, device: str) -> bool:
        """Whether it can train on such a device, as far as is known before it has started."""
        return "auto" in (device, self.device) or device in (self.device, self.device.partition(":")[0])

    def covers(self, other: WantedWorker) -> bool:
        """Whether this worker does, or would do if it could be loaded, what the other one does."""
        same = (self.model, self.device, self.dtype) == (other.model, other.device, other.dtype)
        same = same and (self.threads or cores()) == (other.threads or cores())
        return same and set(other.safety) - {NO_SAFETY} <= set(self.safety or BUILT_IN_CLASSIFIERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """What stack.json says."""

    database: str  # a hash of its URL: one stack works on one database
    address: str = ""  # the same for people
    daemon: Process | None = None
    workers: tuple[WantedWorker, ...] = ()
    pins: tuple[Process, ...] = ()  # workers in a foreground, which need Redis for as long as they live
    stopped: bool = False  # a user ended it: nobody but a new command starts it again
    redis_down: str = ""  # why its Redis does not run
    note: str = ""  # what became of files that its Redis could not read

    @property
    def runs(self) -> bool:
        return self.daemon is not None and self.daemon.lives()

    def serves(self, wanted: WantedWorker) -> bool:
        """Whether a worker is there, or coming, that does what `wanted` would."""
        return any(worker.covers(wanted) for worker in self.workers if not worker.failed)

    def trains(self, device: str) -> bool:
        """Whether a worker is there, or coming, that can train on such a device."""
        return any(worker.trains(device) for worker in self.workers if not worker.failed)

    def failed_to_load(self, wanted: WantedWorker) -> bool:
        """Whether just that worker could not be loaded."""
        return not self.serves(wanted) and replace(wanted, failed=True) in self.workers


def read_state(home: Path) -> StackState | None:
    """The state as it stands; a file that is missing or broken counts as none."""
    try:
        return _state(orjson.loads((home / "stack.json").read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _state(raw: dict[str, Any]) -> StackState:
    fields = {name: raw[name] for name in ("database", "stopped")}
    # What a version before this one did not write.
    fields |= {name: raw[name] for name in ("address", "redis_down", "note") if name in raw}
    return StackState(
        **fields,
        daemon=Process(**raw["daemon"]) if raw["daemon"] else None,
        workers=tuple(WantedWorker(**worker | {"safety": tuple(worker["safety"])}) for worker in raw["workers"]),
        pins=tuple(Process(**pin) for pin in raw["pins"]),
    )
