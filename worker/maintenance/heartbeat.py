"""Tells the others of this worker: that it lives, what it can score, how fast it writes, how much memory it holds."""

from __future__ import annotations

import time

import psutil

from db.work.workers import record_heartbeat
from worker.runtime.runtime import Runtime


class Heartbeat:
    """One worker's sign of life."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen = (time.monotonic(), 0)  # when it last beat, and the tokens until then

    def beat(self) -> None:
        runtime = self._runtime
        record_heartbeat(
            runtime.database,
            runtime.worker,
            state="ready",
            classifiers=list(runtime.classifiers.offered),
            classifier_revisions=runtime.classifiers.revisions,
            error=runtime.classifiers.error,
            tokens_per_second=self._pace(),
            memory_mb=psutil.Process().memory_info().rss / 2**20,
        )

    def _pace(self) -> float:
        """Tokens a second since the last beat."""
        (then, before), self._seen = self._seen, (time.monotonic(), self._runtime.feeder.tokens)
        return (self._seen[1] - before) / max(self._seen[0] - then, 1e-3)
