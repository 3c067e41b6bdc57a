"""Waiting for SQLite's one write lock, so that everybody who waits gets it about as soon as the others."""

from __future__ import annotations

import random
import time
from typing import Any

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
    deadline, pause = time.monotonic() + BUSY_SECONDS, FIRST_PAUSE
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while not _try_to_begin(connection, last=time.monotonic() > deadline):
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311, so that they do not all ask at once
            pause = min(1.5 * pause, LONGEST_PAUSE)
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_SECONDS)}")


def _try_to_begin(connection: Any, *, last: bool) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except Exception as error:
        if last or "locked" not in str(error):
            raise
        return False
    return True
