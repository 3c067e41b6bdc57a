"""Refills the queues with hints at what this worker could claim, in place of messages that were lost."""

from __future__ import annotations

from worker.runtime.runtime import Runtime


def top_up_queues(runtime: Runtime) -> None:
    """Refills all queues. If Redis cannot be reached, the next sweep tries again."""
    runtime.refill_generation()
    runtime.refill_scoring()
    runtime.refill_tunings()
