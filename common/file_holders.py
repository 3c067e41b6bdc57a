"""Which processes hold locks on a file, or have it open, as far as this machine tells.

Linux: the facts come from /proc/locks and /proc/PID/fd; elsewhere, and of other users' processes, nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MOST_NAMED = 3


def describe_holders(*files: Path) -> str:
    """Who keeps others out of these files, such as "by process 4242 (sqlite3)"; empty where that is not known.

    Args:
        files: those on which locks may lie, the likeliest first.
    """
    lockers = [pid for file in files for pid in _lockers(file)]
    known, openers = _named(lockers), "" if lockers else _named(_openers(files))
    if openers:
        return f"perhaps by {openers}, which has it open"
    return f"by {known}" if known else ""


def _named(pids: Iterable[int]) -> str:
    named = [f"{pid} ({_name(pid)})" for pid in dict.fromkeys(pids) if pid != os.getpid()]
    if not named:
        return ""
    more = " …" if len(named) > MOST_NAMED else ""
    return f"{'process' if len(named) == 1 else 'processes'} {', '.join(named[:MOST_NAMED])}{more}"


def _lockers(file: Path) -> list[int]:
    """The processes with a lock for writing on a file: proc_locks(5)."""
    with suppress(OSError):
        status = file.stat()
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        # A line with "->" is of somebody who waits too.
        locks = (fields for fields in lines if len(fields) >= 8 and fields[1] != "->")
        return [int(pid) for _, _, _, mode, pid, at, *_ in locks if mode == "WRITE" and at == place and int(pid) > 0]
    return []


def _openers(files: Iterable[Path]) -> Iterator[int]:
    """The processes that have one of the files open."""
    wanted = {os.path.realpath(file) for file in files}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(link) in wanted for link in (process / "fd").iterdir()):
                yield int(process.name)


def _name(pid: int) -> str:
    with suppress(OSError):
        return "".join(filter(str.isprintable, Path(f"/proc/{pid}/comm").read_text(errors="replace")))
    return "?"
