"""An eye on the batches while faults happen: who holds what, and how long a dead worker's work lay untouched."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from bench.chaos.rawsql import RawSql, run

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _BatchState:
    """A batch at one look."""

    status: str
    worker: str | None
    token: str | None


@dataclass(slots=True)
class _Orphan:
    """A batch whose worker died."""

    batch: int
    token: str | None
    died_at: float


class Watch:
    """Looks at every batch some twenty times a second, from a thread of its own."""

    def __init__(self, sql: RawSql) -> None:
        self._sql = sql
        self._batches: dict[int, _BatchState] = {}
        self._orphans: list[_Orphan] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.taken_up: list[float] = []  # seconds from a death to the next claim, by batch

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def held(self) -> dict[str, list[int]]:
        """The batches in hand, by the worker's id."""
        found: dict[str, list[int]] = {}
        with self._lock:
            for batch, seen in self._batches.items():
                if seen.worker is not None and seen.token is not None:
                    found.setdefault(seen.worker, []).append(batch)
        return found

    def note_death(self, worker: str, at: float | None = None) -> int:
        """A worker's process is dead, since `at` on time.monotonic(). Returns how many batches it had in hand."""
        when = time.monotonic() if at is None else at
        with self._lock:
            held = [(batch, seen) for batch, seen in self._batches.items() if seen.worker == worker and seen.token]
            self._orphans += [_Orphan(batch, seen.token, when) for batch, seen in held]
        return len(held)

    def _run(self) -> None:
        connection: Any = None
        while not self._stopping.wait(POLL_SECONDS):
            try:
                connection = connection or self._sql.connect()
                rows = run(connection, "SELECT id, status, worker, lease_token FROM batches")
            except Exception:  # the database is away, or has no tables yet
                with suppress(Exception):
                    connection.close()
                connection = None
                continue
            self._update({number: _BatchState(*rest) for number, *rest in rows}, time.monotonic())
        if connection is not None:
            connection.close()

    def _update(self, seen: dict[int, _BatchState], at: float) -> None:
        with self._lock:
            self._batches = seen
            waiting = []
            for orphan in self._orphans:
                now = seen.get(orphan.batch)
                if now is None or (now.token and now.token != orphan.token) or now.status in ("done", "cancelled"):
                    self.taken_up.append(at - orphan.died_at)
                else:
                    waiting.append(orphan)
            self._orphans = waiting


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent lie; 0 where there is none."""
    if len(values) < 2:
        return max(values, default=0.0)
    return quantiles(values, n=100, method="inclusive")[percent - 1]
