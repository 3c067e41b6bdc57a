"""Records that this worker lives, what it can score, how fast it writes and how much memory it uses."""

from __future__ import annotations

import time

import psutil

from db.work.workers import record_heartbeat
from worker.runtime.runtime import Runtime
from worker.tunings_here import why_not_here


class Heartbeat:
    """One worker's signs of life."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._last_beat = (time.monotonic(), 0)  # its time, and how many tokens there were

    def beat(self) -> None:
        runtime = self._runtime
        record_heartbeat(
            runtime.database,
            runtime.worker,
            state="ready",
            classifiers=list(runtime.classifiers.offered),
            classifier_revisions=runtime.classifiers.revisions,
            error=runtime.classifiers.error
            or why_not_here(runtime.database, runtime.config.models_folder, runtime.device),
            tokens_per_second=self._tokens_per_second(),
            memory_mb=psutil.Process().memory_info().rss / 2**20,
        )

    def _tokens_per_second(self) -> float:
        """Since the last beat."""
        (last_time, last_tokens), self._last_beat = self._last_beat, (time.monotonic(), self._runtime.feeder.tokens)
        return (self._last_beat[1] - last_tokens) / max(self._last_beat[0] - last_time, 1e-3)
