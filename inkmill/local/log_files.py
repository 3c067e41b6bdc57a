"""The logs of the local stack, which run for months: each is cut when it has grown, and one older part of it is kept.

Whoever writes to one has had it open since it started, and appends: so what is there is copied away, and the file made
empty, in its place.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 10 << 20
"""Of a log, and of its older part."""


def cut(log: Path) -> None:
    """Begins the log anew where it is over MOST_BYTES; what was in it is then LOG.1, its last bytes if it is longer.

    A line that is written meanwhile may be lost. Where there is no room for a copy, there is more without the log.
    """
    with suppress(OSError):
        size = log.stat().st_size
        if size > MOST_BYTES:
            with suppress(OSError):
                _copy(log, size)
            os.truncate(log, 0)


def _copy(log: Path, size: int) -> None:
    older = os.open(log.with_name(log.name + ".1"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(older, "wb") as copy, log.open("rb") as whole:
        whole.seek(size - MOST_BYTES)
        copy.write(whole.read(MOST_BYTES))
