"""Applying a threshold to a job from a page: in a thread of its own, since a large job takes longer than a page may.

What is cut short by the end of the server is carried on by a worker, or by applying the threshold again.
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
    """One reflag, under way or over."""

    label: str
    threshold: float
    done: Reflagged | None = None
    failed: str | None = None

    @property
    def over(self) -> bool:
        return self.done is not None or self.failed is not None


class Reflagging:
    """The reflags that this server was asked for, the last one of each job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, int], Run] = {}

    def of(self, database: Database, job_id: int) -> Run | None:
        """The last one of a job."""
        return self._runs.get((database.address, job_id))

    def start(self, database: Database, job_id: int, label: str, threshold: float, wait_seconds: float) -> Run:
        """Begins one and waits a little for its end; all other labels keep their thresholds.

        Raises:
            UsageError: where one of this job is under way, or nothing of it is scored.
        """
        check_scored(database, job_id)
        run = Run(label, threshold)
        with self._lock:
            before = self.of(database, job_id)
            if before is not None and not before.over:
                raise UsageError(f"job {job_id} is being flagged anew already; wait until that is over")
            self._runs[database.address, job_id] = run
        thread = threading.Thread(
            target=_apply, args=(run, database, job_id), daemon=True
        )  # the end of the server cuts it short
        thread.start()
        thread.join(wait_seconds)
        return run


def _apply(run: Run, database: Database, job_id: int) -> None:
    try:
        run.done = reflag_job(database, job_id, thresholds={run.label: run.threshold}, blocklist=None)
    except DatabaseUnreachable as error:
        log.error("%s", error)  # the terminal's business: it says where the database is
        run.failed = "the database does not answer; nothing was lost, apply it again in a moment"
    except InkmillError as error:
        run.failed = str(error)
    except Exception:
        log.exception("applying a threshold to job %s failed", job_id)
        run.failed = "something broke; the terminal of ‘inkmill web’ says what"
