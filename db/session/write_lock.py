"""Waiting for SQLite's one write lock, so that everybody who waits gets it about as soon as the others."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from common.file_holders import describe_holders
from common.long_waits import QUIET_SECONDS, tell

BUSY_SECONDS = 30
"""How long a writer waits; no transaction of ours holds the lock for a second."""
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.01


def begin_writing(connection: Any) -> None:
    """Begins a transaction that holds the write lock.

    SQLite's own way of waiting asks ever more seldom, ten times a second in the end, while newcomers ask at once: under
    load whoever has waited long would wait on, for seconds.

    Args:
        connection: the driver's.

    Raises:
        The driver's OperationalError: others held the lock for too long, or the file is away.
    """
    started, pause, told = time.monotonic(), FIRST_PAUSE, False
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while not _try_to_begin(connection, last=time.monotonic() > started + BUSY_SECONDS):
            if not told and time.monotonic() > started + QUIET_SECONDS:
                tell(describe_lock(_path(connection)))
                told = True
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311, so that they do not all ask at once
            pause = min(1.5 * pause, LONGEST_PAUSE)
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_SECONDS)}")


def describe_lock(path: str) -> str:
    """The lock of the database in that file, and who holds it where this machine tells."""
    return f"the database {path}, which is locked {lock_holders(path)}".rstrip()


def lock_holders(path: str) -> str:
    """The processes that keep others from writing to the database in that file; empty where that is not known."""
    # In WAL mode the locks lie on its companion; one that locks all others out has it on the file itself.
    return describe_holders(Path(f"{path}-shm"), Path(path))


def _path(connection: Any) -> str:
    path: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return path


def _try_to_begin(connection: Any, *, last: bool) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except Exception as error:
        if last or "locked" not in str(error):
            raise
        return False
    return True
