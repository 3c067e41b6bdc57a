"""Worker processes as the others see them: what they serve, and when they last gave a sign of life."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import delete, insert, select, update

from contract.spec import manner_of_writing
from db.models import Worker
from db.session.engine import Database, now

SILENT_SECONDS = 30.0
"""A worker that gave no sign for this long is not counted on."""
TUNING = "tuning"
"""The state of a worker that trains: it has no model loaded, and does nothing else."""
ALIVE = ("starting", "ready", TUNING)
"""The states of a worker that has not ended."""
FORGOTTEN_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker process."""

    id: str
    host: str
    pid: int
    state: str  # starting, ready, tuning, failed, stopped
    model: str
    revision: str | None
    dtype: str
    device: str
    engine: str | None
    numerics: str | None
    threads: int | None
    why_fallback: str | None  # why its model has no slots; None = it has, or it is not known yet
    classifiers: list[str]
    classifier_revisions: dict[str, str] | None  # of those that are loaded
    error: str | None
    started_at: float
    last_seen: float
    tokens_per_second: float
    memory_mb: float
    silent: float  # seconds since the last sign of life; below 0 after a step back of the clock

    @property
    def alive(self) -> bool:
        # A sign of life from the future is none: the clock was set back, and whoever lives gives another at once.
        return self.state in ALIVE and abs(self.silent) < SILENT_SECONDS

    @property
    def without_slots(self) -> str | None:
        """How it writes, and why, where its model has no slots."""
        return None if self.why_fallback is None else manner_of_writing(self.engine, self.why_fallback)

    def scores(self, classifier: str, revision: str | None) -> bool:
        """Whether it scores with that classifier in that revision, or may: which one it has shows at its first use.

        Args:
            revision: None = any.
        """
        theirs = (self.classifier_revisions or {}).get(classifier)
        return classifier in self.classifiers and (theirs is None or revision in (None, theirs))


def register_worker(database: Database, worker: str, **values: Any) -> None:
    """A worker process says that it is there, and forgets those that have been gone for a week."""
    with database.write() as connection:
        connection.execute(delete(Worker).where(Worker.last_seen < now() - FORGOTTEN_SECONDS))
        connection.execute(insert(Worker).values(id=worker, started_at=now(), last_seen=now(), **values))


def record_heartbeat(database: Database, worker: str, **values: Any) -> None:
    """A sign of life, with what changed."""
    with database.write() as connection:
        connection.execute(update(Worker).where(Worker.id == worker).values(last_seen=now(), **values))


def list_workers(database: Database) -> list[WorkerRow]:
    """Every worker remembered, the newest first."""
    names = [field.name for field in fields(WorkerRow) if field.name != "silent"]
    columns = [Worker.__table__.c[name] for name in names]
    query = select(*columns, (now() - Worker.last_seen).label("silent")).order_by(Worker.started_at.desc())
    with database.read() as connection:
        return [WorkerRow(**row._mapping) for row in connection.execute(query)]


def without_slots(database: Database, model: str, engine: str | None) -> str | None:
    """How the texts of a model are written that has no slots, and why; None where it has, or where nobody remembers.

    Args:
        engine: the one that writes them, or wrote them; None = that of whatever worker there is.
    """
    serving = [worker for worker in list_workers(database) if worker.model == model]
    fitting = (one for one in serving if (one.engine == engine if engine else one.alive))
    return next((one.without_slots for one in fitting if one.without_slots), None)


def get_worker(database: Database, worker: str) -> WorkerRow | None:
    """The worker of that id."""
    return next((row for row in list_workers(database) if row.id == worker), None)
