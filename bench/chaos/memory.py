"""A limit of memory that the kernel enforces by killing: a control group of version 1, below this process' own.

Where there is none that may be written, the kernel's OOM kill cannot be made without harming the whole machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup/memory")
LEAVE_SECONDS = 20.0


def _own_group() -> Path | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return ROOT / path.lstrip("/")
    return None


def can_limit() -> bool:
    """Whether a control group can be made here."""
    own_group = _own_group()
    return own_group is not None and os.access(own_group, os.W_OK)


class MemoryLimit:
    """A control group with a limit; processes that are put into it share it with their children."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int) -> None:
        (self._folder / "cgroup.procs").write_text(str(pid))

    @property
    def kills(self) -> int:
        """How often the kernel killed in it."""
        for line in (self._folder / "memory.oom_control").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    @property
    def used_mb(self) -> float:
        return int((self._folder / "memory.usage_in_bytes").read_text()) / 2**20


@contextmanager
def memory_limit(megabytes: int) -> Iterator[MemoryLimit]:
    """A control group that goes away at the end; whoever is still in it then goes back to where this process is."""
    own_group = _own_group()
    assert own_group is not None
    folder = own_group / f"inkmill-chaos-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(megabytes * 2**20))
        yield MemoryLimit(folder)
    finally:
        _leave(folder, own_group)


def _leave(folder: Path, own_group: Path) -> None:
    """Takes a control group away; a process may just be starting or ending in it."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while True:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (own_group / "cgroup.procs").write_text(pid)
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
