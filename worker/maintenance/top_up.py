"""Fills the queues again with what this worker could claim: messages that were lost are made anew."""

from __future__ import annotations

from worker.runtime.runtime import Runtime


def top_up_queues(runtime: Runtime) -> None:
    """Queues that cannot be reached are no error: the next sweep tries again."""
    runtime.refill_generation()
    runtime.refill_scoring()
