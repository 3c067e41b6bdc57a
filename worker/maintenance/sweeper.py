"""The thread that performs a worker's duties, every few seconds (INKMILL_SWEEP_SECONDS)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from contract.errors import DatabaseUnreachable
from worker.maintenance.heartbeat import Heartbeat
from worker.maintenance.job_finisher import end_jobs
from worker.maintenance.lease_rescuer import rescue_leases
from worker.maintenance.reflag_rescuer import ReflagRescuer
from worker.maintenance.retry_rescuer import RetryRescuer
from worker.maintenance.top_up import top_up_queues
from worker.runtime.runtime import Runtime

log = structlog.get_logger()


def duties(runtime: Runtime) -> list[Callable[[], None]]:
    """In the order of a sweep: what the first ones free is handed out in the same sweep, and the slowest comes last."""
    database = runtime.database
    return [
        partial(rescue_leases, database),
        partial(end_jobs, database),
        RetryRescuer(database).run,
        Heartbeat(runtime).beat,
        partial(top_up_queues, runtime),
        ReflagRescuer(database).run,
    ]


class Sweeper:
    """Performs the duties in a thread of its own, of which every worker process has one."""

    def __init__(self, duties: Sequence[Callable[[], None]], interval: float, stopping: threading.Event) -> None:
        """
        Args:
            interval: seconds between two sweeps.
        """
        self._duties, self._interval, self._stopping = duties, interval, stopping
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.sweep()
            self._stopping.wait(self._interval)

    def sweep(self) -> None:
        """Performs the duties once. If one fails, it and those after it wait for the next sweep."""
        try:
            for duty in self._duties:
                duty()
        except DatabaseUnreachable as error:
            log.warning("waiting for the database", error=str(error))
        except Exception:
            log.exception("a sweep failed; the next one tries again")
