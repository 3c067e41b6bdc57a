"""Applying a threshold to a job from a page: in a thread of its own, since a large job takes longer than a request may.

What a shutdown interrupts is finished by a worker, or by applying the threshold again.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from contract.errors import DatabaseUnreachable, InkmillError, UsageError
from db.jobs.reflag import Reflagged, check_scored, reflag_job
from db.session.engine import Database

log = logging.getLogger("inkmill.review")


@dataclass(slots=True)
class Run:
    """One reflag, running or finished."""

    label: str
    threshold: float
    done: Reflagged | None = None
    failed: str | None = None

    @property
    def over(self) -> bool:
        return self.done is not None or self.failed is not None


class Reflagging:
    """The last reflag of each job that this server was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, int], Run] = {}

    def of(self, database: Database, job_id: int) -> Run | None:
        """The last reflag of a job."""
        return self._runs.get((database.address, job_id))

    def start(self, database: Database, job_id: int, label: str, threshold: float, wait_seconds: float) -> Run:
        """Starts one and waits briefly for it to finish; all other labels keep their thresholds.

        Raises:
            UsageError: a reflag of this job is running, or none of it is scored.
        """
        check_scored(database, job_id)
        run = Run(label, threshold)
        with self._lock:
            before = self.of(database, job_id)
            if before is not None and not before.over:
                raise UsageError(f"job {job_id} is already being reflagged; wait until that has finished")
            self._runs[database.address, job_id] = run
        thread = threading.Thread(target=_apply, args=(run, database, job_id), daemon=True)  # a shutdown cuts it short
        thread.start()
        thread.join(wait_seconds)
        return run


def _apply(run: Run, database: Database, job_id: int) -> None:
    try:
        run.done = reflag_job(database, job_id, thresholds={run.label: run.threshold}, blocklist=None)
    except DatabaseUnreachable as error:
        log.error("%s", error)  # only in the terminal: it names the database
        run.failed = "the database does not answer; nothing was lost, try again in a moment"
    except InkmillError as error:
        run.failed = str(error)
    except Exception:
        log.exception("applying a threshold to job %s failed", job_id)
        run.failed = "an internal error; see the terminal of ‘inkmill web’"
