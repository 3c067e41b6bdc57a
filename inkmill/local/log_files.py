"""Log rotation for the local stack, which runs for months: one older part of each log is kept.

Writers keep their logs open and append, so a log is copied and truncated in place.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 10 << 20
"""The limit of a log, and of its older part."""


def rotate(log: Path) -> None:
    """Truncates the log if it is over MAX_BYTES; its last MAX_BYTES go to LOG.1.

    A line written in between may be lost. Without room for a copy, the log is truncated all the same.
    """
    with suppress(OSError):
        size = log.stat().st_size
        if size > MAX_BYTES:
            with suppress(OSError):
                _copy(log, size)
            os.truncate(log, 0)


def _copy(log: Path, size: int) -> None:
    older = os.open(log.with_name(log.name + ".1"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(older, "wb") as copy, log.open("rb") as full:
        full.seek(size - MAX_BYTES)
        copy.write(full.read(MAX_BYTES))
