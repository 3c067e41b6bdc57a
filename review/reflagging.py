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
class ReflagRun:
    """One reflag, running or finished."""

    label: str
    threshold: float
    by: str | None = None  # the reviewer who asked for it
    result: Reflagged | None = None
    error: str | None = None

    @property
    def finished(self) -> bool:
        return self.result is not None or self.error is not None


class Reflags:
    """The last reflag of each job that this server was asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._runs: dict[int, ReflagRun] = {}

    def last(self, job_id: int) -> ReflagRun | None:
        """The last reflag of a job."""
        return self._runs.get(job_id)

    def start(self, job_id: int, label: str, threshold: float, wait_seconds: float, by: str) -> ReflagRun:
        """Starts one and waits briefly for it to finish; all other labels keep their thresholds.

        Raises:
            UsageError: a reflag of this job is running, or none of it is scored.
        """
        check_scored(self._database, job_id)
        run = ReflagRun(label, threshold, by)
        with self._lock:
            last = self.last(job_id)
            if last is not None and not last.finished:
                raise UsageError(f"job {job_id} is already being reflagged; wait until that has finished")
            self._runs[job_id] = run
        # A daemon: a shutdown cuts it short.
        thread = threading.Thread(target=_apply, args=(run, self._database, job_id), daemon=True)
        thread.start()
        thread.join(wait_seconds)
        return run


def _apply(run: ReflagRun, database: Database, job_id: int) -> None:
    try:
        wanted = {run.label: run.threshold}
        run.result = reflag_job(database, job_id, thresholds=wanted, blocklist=None, by=run.by)
    except DatabaseUnreachable as error:
        log.error("%s", error)  # only in the terminal: it names the database
        run.error = "the database does not answer; nothing was lost, try again in a moment"
    except InkmillError as error:
        run.error = str(error)
    except Exception:
        log.exception("applying a threshold to job %s failed", job_id)
        run.error = "an internal error; see the terminal of ‘inkmill web’"
