"""Faults for the named points inside the program's processes: armed here, triggered in bench.chaos.inside."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.chaos.inside.points import COMPLETIONS, COUNTERS, FORM, FUNCTIONS, MID_SCORE, SAVED, TOKENS

POINTS = (*(f"{when}-{name}" for name in FUNCTIONS for when in ("before", "inside", "after")), MID_SCORE)


@dataclass(frozen=True, slots=True)
class Triggered:
    """A fault that happened."""

    name: str
    point: str
    pid: int
    at: float  # seconds of time.monotonic(), which all processes share


@dataclass(frozen=True, slots=True)
class ProcessCounts:
    """What one process computed and saved, counted there; kill -9 does not lose it."""

    worker: str  # its id
    tokens: int
    completions: int  # texts that were finished
    saved: int  # texts that a save took


class FaultInjector:
    """The folder through which faults reach the processes of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def arm(
        self,
        point: str,
        action: str = "SIGKILL",
        argument: str = "",
        skip: int = 0,
        *,
        only_pid: int | None = None,
        permanent: bool = False,
    ) -> None:
        """Makes the next process that passes the point trigger a fault, once.

        Args:
            point: one of POINTS.
            action: a signal's name, which the process sends itself; `raise`; `sleep`; `hold-the-gil`, which is a
                sleep that lets no other thread run; or `eat-memory`, which goes on until the kernel ends the process.
            argument: the exception's name (a built-in, or torch.OutOfMemoryError), or the seconds to sleep.
            skip: times that a process may pass the point unharmed.
            only_pid: the process that is meant; None = whichever comes first.
            permanent: it is triggered each time, until it is disarmed; the first time is recorded.
        """
        if point not in POINTS:
            raise ValueError(f"there is no point {point!r}")
        part = self.folder / f"{point}.part"
        fault = {"action": action, "argument": argument, "skip": skip, "only_pid": only_pid, "permanent": permanent}
        part.write_text(json.dumps(fault))
        part.rename(self.folder / point)

    def is_armed(self, point: str) -> bool:
        """Whether no process has triggered it yet."""
        return (self.folder / point).exists()

    def disarm(self, point: str) -> bool:
        """Removes a fault. Returns whether it was still armed."""
        try:
            (self.folder / point).unlink()
        except FileNotFoundError:
            return False
        return True

    def triggered(self) -> list[Triggered]:
        """The faults that happened, the oldest first."""
        found = []
        for path in self.folder.glob("triggered.*"):
            _, point, pid, at = path.name.split(".")
            found.append(Triggered(path.name, point, int(pid), int(at) / 1e9))
        return sorted(found, key=lambda one: one.at)

    def wait_for(self, point: str, seconds: float) -> Triggered | None:
        """Waits until the fault armed at a point is triggered; None if that does not happen in time."""
        deadline = time.monotonic() + seconds
        while self.is_armed(point):
            if time.monotonic() > deadline and self.disarm(point):
                return None
            time.sleep(0.02)
        return next(one for one in reversed(self.triggered()) if one.point == point)

    def outcome(self, triggered: Triggered) -> str | None:
        """How the call went on around which a process was stopped: `returned`, or an exception's name."""
        path = self.folder / f"outcome.{triggered.name}"
        return path.read_text() if path.exists() else None

    def counts(self) -> Iterator[ProcessCounts]:
        """What each process computed."""
        for path in self.folder.glob("counters.*"):
            numbers = [value for (value,) in struct.iter_unpack(FORM, path.read_bytes())]
            if len(numbers) == COUNTERS:
                worker = path.name.split(".")[2]
                yield ProcessCounts(worker, numbers[TOKENS], numbers[COMPLETIONS], numbers[SAVED])
