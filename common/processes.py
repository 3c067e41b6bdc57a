"""Processes as other processes know them: told apart from later ones with the same number, ended with their parent, and
served after others where they say so.

Linux: the facts come from /proc and prctl.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
AUTOGROUP_TRIES = 10
_STATE, _START_TIME = 0, 19  # fields of /proc/PID/stat after the name, which may hold spaces: proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of this machine."""

    pid: int
    born: str  # the boot and the clock tick of its start; a step of the wall clock does not move it

    @classmethod
    def me(cls) -> Process:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has that number now; one that has ended is never alive."""
        return cls(pid=pid, born=_birth(pid) or "")

    def lives(self) -> bool:
        """Whether it still runs. A zombie does not."""
        return bool(self.born) and _birth(self.pid) == self.born


def _birth(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return None
    return None if fields[_STATE] in "ZX" else f"{boot}/{fields[_START_TIME]}"


def end_with_parent() -> None:
    """This process gets SIGTERM when the thread that made it ends: what nobody can stop any more shall not stay."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def give_way(nice: int) -> None:
    """This process, alone in its session and with one thread as yet, leaves the cores to others that want them.

    Where that is not allowed, it goes on as it is.

    Args:
        nice: how far, 0 to 19, as nice(1) counts; one that gives way further already stays as it is.
    """
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    # Where Linux shares the cores out among sessions first (autogroups, sched(7)), that says nothing to the others.
    with suppress(OSError):
        for _ in range(AUTOGROUP_TRIES):
            try:
                Path("/proc/self/autogroup").write_text(str(nice))
                break
            except BlockingIOError:  # it is written to once in a tenth of a second, by all users together
                time.sleep(0.1)


def cores() -> int:
    """The cores this process may use, where the system can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave(status: int) -> NoReturn:
    """Ends this process in order, but for one thing: the interpreter would look for garbage once more, among all the
    objects there are, which takes a command a fifth of its time and a process with torch over a second."""
    gc.freeze()
    sys.exit(status)
