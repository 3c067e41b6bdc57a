"""Tunings as a whole: storing, finding, cancelling and retrying them. What a worker does is in `claims`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, not_, or_, select, update

from contract.errors import NoSuchTuning, UsageError
from contract.spec import FINISHED_TUNINGS, TUNINGS_UNDER_WAY, TuningStatus
from db.session.engine import Database, now
from db.tuning_models import Model, Tuning, TuningOutput
from db.work.lease import NO_LEASE

_REFERENCE = re.compile(r"t?([1-9][0-9]{0,17})")
CHUNK_ROWS = 1000
RETRIED = (TuningStatus.FAILED, TuningStatus.CANCELLED, TuningStatus.PAUSED)
"""What `retry_tuning` queues again."""
ORDER_AT_FAULT = "usage"
"""The code of a failure that the same order would meet again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSource:
    """An output in a corpus, in the revision that was read."""

    output_id: int
    revision: int = 0
    decision_id: int | None = None  # that stood then


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTuning:
    """A tuning whose corpus is prepared."""

    name: str  # of the model
    base: str
    device: str = "auto"
    dtype: str = "auto"
    order: Mapping[str, Any]
    folder: str
    owner: str | None = None  # the installation whose stack may end it; None = none may


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTuning:
    """A tuning as SQL has it."""

    id: int
    name: str
    status: TuningStatus
    base: str
    device: str
    dtype: str
    order: Mapping[str, Any]
    folder: str
    model: str | None  # what came of it, as NAME@VERSION
    worker: str | None
    deaths: int
    owner: str | None
    error: str | None
    code: str | None
    progress: Mapping[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def reference(self) -> str:
        """How people call it."""
        return tuning_reference(self.id)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED_TUNINGS


_MADE = case((Model.id.is_not(None), Model.name + "@" + Model.version.cast(Model.name.type)), else_=None)
_COLUMNS = [
    _MADE.label(name) if name == "model" else Tuning.__table__.c[name] for name in StoredTuning.__dataclass_fields__
]
_QUERY = select(*_COLUMNS).join(Model, Model.id == Tuning.model_id, isouter=True)


def tuning_reference(number: int) -> str:
    """How people call a tuning of that number."""
    return f"t{number}"


def is_reference(text: str) -> bool:
    """Whether a word is meant as a tuning's, not as a job's number."""
    return text.startswith("t") and bool(_REFERENCE.fullmatch(text))


def insert_tuning(database: Database, new: NewTuning, sources: Iterable[TuningSource] = ()) -> int:
    """Stores a tuning, which workers may claim from then on. Returns its number."""
    values = {name: getattr(new, name) for name in NewTuning.__dataclass_fields__}
    values |= {"status": TuningStatus.QUEUED.value, "created_at": now()}
    with database.write() as connection:
        number = connection.execute(insert(Tuning).values(values).returning(Tuning.id)).scalar_one()
        _insert_sources(connection, number, list(sources))
    return number


def _insert_sources(connection: Connection, number: int, sources: Sequence[TuningSource]) -> None:
    rows = [
        {"tuning_id": number, "output_id": one.output_id, "revision": one.revision, "decision_id": one.decision_id}
        for one in sources
    ]
    for first in range(0, len(rows), CHUNK_ROWS):
        connection.execute(insert(TuningOutput), rows[first : first + CHUNK_ROWS])


def find_tuning(database: Database, reference: int | str) -> StoredTuning:
    """The tuning of that number, which people write as t1.

    Raises:
        NoSuchTuning: there is none.
    """
    found = _REFERENCE.fullmatch(str(reference))
    with database.read() as connection:
        row = connection.execute(_QUERY.where(Tuning.id == int(found[1]))).first() if found else None
    if row is None:
        raise NoSuchTuning(int(found[1]) if found else str(reference))
    return _stored(row)


def tuning_in_folder(database: Database, folder: str) -> StoredTuning | None:
    """The tuning whose folder has that name."""
    found = _read(database, _QUERY.where(Tuning.folder == folder).order_by(Tuning.id.desc()).limit(1))
    return next(iter(found), None)


def unfinished_in_folders(database: Database, folder: str) -> StoredTuning | None:
    """The newest tuning that has no model yet and could get one, of those whose folder has that name, or that name and
    something behind a dash: tunings that were asked for alike. One whose order was at fault never gets one."""
    alike = or_(Tuning.folder == folder, Tuning.folder.startswith(f"{folder}-", autoescape=True))
    hopeless = and_(Tuning.status == TuningStatus.FAILED, func.coalesce(Tuning.code, "") == ORDER_AT_FAULT)
    open_ = and_(alike, Tuning.status != TuningStatus.COMPLETED, not_(hopeless))
    return next(iter(_read(database, _QUERY.where(open_).order_by(Tuning.id.desc()).limit(1))), None)


def list_tunings(database: Database, limit: int = 100, *, before: int | None = None) -> list[StoredTuning]:
    """The newest tunings, newest first; `before` one, where one is named."""
    query = _QUERY if before is None else _QUERY.where(Tuning.id < before)
    return _read(database, query.order_by(Tuning.id.desc()).limit(limit))


def unfinished_tunings(database: Database) -> list[StoredTuning]:
    """Those that still need a worker, now or once they are retried, the oldest first."""
    return _read(database, _QUERY.where(Tuning.status.in_(TUNINGS_UNDER_WAY)).order_by(Tuning.id))


def cancel_tuning(database: Database, number: int) -> None:
    """Cancels a tuning: at once where no worker has it, else the worker notices when it renews its lease.

    Raises:
        NoSuchTuning: there is none of that number.
        UsageError: it is over already.
    """
    held = Tuning.status == TuningStatus.RUNNING
    cancelled = {
        "status": case((held, TuningStatus.CANCELLING.value), else_=TuningStatus.CANCELLED.value),
        "finished_at": case((held, None), else_=now()),
    }
    among = (TuningStatus.QUEUED, TuningStatus.PAUSED, TuningStatus.RUNNING)
    if _steer(database, number, Tuning.status.in_(among), cancelled):
        return
    status = find_tuning(database, number).status
    if status != TuningStatus.CANCELLING:
        raise UsageError(f"tuning t{number} is already {status}; there is nothing to cancel")


def retry_tuning(database: Database, number: int, *, owner: str | None = None) -> None:
    """Queues a tuning again that failed, was cancelled or is paused: it goes on from its last checkpoint.

    Args:
        owner: the installation that retries it.

    Raises:
        NoSuchTuning: there is none of that number.
        UsageError: it is under way, or has its model.
    """
    again = {
        "status": TuningStatus.QUEUED.value, "deaths": 0, "error": None, "code": None, "finished_at": None,
        "owner": owner, **NO_LEASE,
    }  # fmt: skip
    if not _steer(database, number, Tuning.status.in_(RETRIED), again):
        status = find_tuning(database, number).status
        raise UsageError(f"tuning t{number} is {status}; only one that failed, was cancelled or is paused is retried")


def fail_unclaimed(database: Database, number: int, error: str, *, owner: str | None) -> bool:
    """Ends a tuning that its own stack cannot serve, such as without its base model.

    Args:
        owner: who asks; a tuning of anybody else is left alone.

    Returns:
        Whether it was waiting, and the owner's.
    """
    mine = (Tuning.status == TuningStatus.QUEUED) & (Tuning.owner == owner)
    return _steer(database, number, mine, {"status": TuningStatus.FAILED.value, "error": error, "finished_at": now()})


def _steer(database: Database, number: int, where: ColumnElement[bool], values: Mapping[str, Any]) -> bool:
    with database.write() as connection:
        return connection.execute(update(Tuning).where(Tuning.id == number, where).values(values)).rowcount == 1


def _read(database: Database, query: Any) -> list[StoredTuning]:
    with database.read() as connection:
        return [_stored(row) for row in connection.execute(query)]


def _stored(row: Any) -> StoredTuning:
    values = {name: getattr(row, name) for name in StoredTuning.__dataclass_fields__}
    return StoredTuning(**values | {"status": TuningStatus(row.status)})
