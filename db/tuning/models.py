"""Models of one's own as SQL knows them: recording, finding and removing them, and what needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from contract.errors import NoSuchModel, UsageError
from contract.spec import FINISHED_JOBS, TUNINGS_UNDER_WAY, JobStatus, TuningStatus
from db.models import Job, Output
from db.session.dialect import insert_or
from db.session.engine import Database, now
from db.tuning.claims import TuningClaim, fence
from db.tuning.tunings import tuning_reference
from db.tuning_models import Model, Tuning
from db.work.lease import NO_LEASE

Place = Callable[[int], str]
Newest = Callable[[], int]
"""The newest version that the store has, recorded or not. It is asked within the transaction: between looking before it
and taking a version, somebody else's folder could appear and its row be lost with a killed process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model that is about to be recorded."""

    name: str
    base: str | None
    base_revision: str | None
    revision: str  # the hash of its files, as provenances have it
    perplexity_before: float | None = None
    perplexity_after: float | None = None
    corpus: Sequence[Mapping[str, Any]] = ()  # of each file: name, sha256, documents, tokens
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None  # what it was imported from


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel(NewModel):
    """A model in one version, as SQL has it."""

    id: int
    version: int
    folder: str
    tuning_id: int | None
    created_at: float
    removed_at: float | None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


_COLUMNS = [Model.__table__.c[name] for name in StoredModel.__dataclass_fields__]


def add_model(
    database: Database, new: NewModel, place: Place, *, after: Newest = lambda: 0, version: int | None = None
) -> StoredModel:
    """Records a model under the next version of its name: its row is stored once its folder is in its place.

    Args:
        place: given the version, puts the folder where it belongs and returns its whole path. Nobody else has that
            version; where it raises, nothing is stored.
        after: says which version is the newest in the store.
        version: that of a folder that is in its place already, as a killed process left it; None = the next one.

    Raises:
        UsageError: that version is recorded already.
    """
    with database.write() as connection:
        return _add(connection, new, place, after, version)


def complete_tuning(
    database: Database,
    claim: TuningClaim,
    new: NewModel,
    place: Place,
    *,
    after: Newest = lambda: 0,
    version: int | None = None,
) -> StoredModel:
    """Records the model that came of a tuning, as `add_model` does, and ends the tuning, in one go. One that was
    cancelled when its model was there already is completed.

    Raises:
        LeaseLost: where the claim is not this worker's any more; nothing is stored then, and `place` is not called.
        UsageError: that version is recorded already.
    """
    with database.write() as connection:
        fence(connection, claim)
        model = _add(connection, new, place, after, version, claim.tuning_id)
        over = {"status": TuningStatus.COMPLETED.value, "model_id": model.id, "finished_at": now(), "error": None}
        fence(connection, claim, **over, **NO_LEASE)
    return model


def _add(
    connection: Connection,
    new: NewModel,
    place: Place,
    after: Newest,
    version: int | None,
    tuning_id: int | None = None,
) -> StoredModel:
    number, version = _reserve(connection, new, after, version, tuning_id)
    connection.execute(update(Model).where(Model.id == number).values(folder=place(version)))
    return _stored(connection.execute(select(*_COLUMNS).where(Model.id == number)).one())


def _reserve(
    connection: Connection, new: NewModel, after: Newest, wanted: int | None, tuning_id: int | None
) -> tuple[int, int]:
    """Takes the next version; whoever takes the same at the same time waits here for the other's transaction."""
    values = _values(new) | {"tuning_id": tuning_id}
    while True:
        newest = connection.scalar(select(func.max(Model.version)).where(Model.name == new.name)) or 0
        version = wanted or max(newest, after()) + 1
        added = insert_or(connection, Model).values(**values, version=version, folder="", created_at=now())
        added = added.on_conflict_do_nothing(index_elements=["name", "version"]).returning(Model.id)
        if (number := connection.execute(added).scalar()) is not None:
            if wanted or after() < version:
                return number, version
            # Whoever had it before was waited for, and was killed when its folder was there already.
            connection.execute(delete(Model).where(Model.id == number))
        elif wanted:
            raise UsageError(f"{new.name}@{wanted} is recorded already; 'inkmill models' lists what there is")


def _values(new: NewModel) -> dict[str, Any]:
    values = {name: getattr(new, name) for name in NewModel.__dataclass_fields__}
    return values | {"corpus": [dict(file) for file in new.corpus], "settings": dict(new.settings)}


def find_model(database: Database, name: str, version: int | None = None, *, removed: bool = False) -> StoredModel:
    """A version of a model, or its newest one.

    Args:
        removed: a removed one will do.

    Raises:
        NoSuchModel: there is none.
    """
    query = select(*_COLUMNS).where(Model.name == name).order_by(Model.version.desc()).limit(1)
    query = query if version is None else query.where(Model.version == version)
    with database.read() as connection:
        row = connection.execute(query if removed else query.where(Model.removed_at.is_(None))).first()
    if row is None:
        raise NoSuchModel(name if version is None else f"{name}@{version}")
    return _stored(row)


def list_models(database: Database) -> list[StoredModel]:
    """The models that were not removed, by name and version."""
    query = select(*_COLUMNS).where(Model.removed_at.is_(None)).order_by(Model.name, Model.version)
    with database.read() as connection:
        return [_stored(row) for row in connection.execute(query)]


def newest_version(database: Database, name: str) -> int:
    """The newest version that a name ever had, removed or not; 0 = none."""
    with database.read() as connection:
        return connection.scalar(select(func.max(Model.version)).where(Model.name == name)) or 0


def remove_model(
    database: Database,
    model: str,
    set_aside: Callable[[], object] = lambda: None,
    *,
    unrecorded: NewModel | None = None,
) -> list[str]:
    """Marks a model as removed; its row stays, as texts still name it. Returns what needs it: then nothing is done.

    Args:
        model: as jobs name it, NAME@VERSION.
        set_aside: takes its folder out of the store; where it raises, nothing is marked.
        unrecorded: what its folder tells, where SQL may not know it: a row is made of that, so that its version is
            never given again either.
    """
    name, _, version = model.partition("@")
    named = (Model.name == name, Model.version == int(version), Model.removed_at.is_(None))
    with database.write() as connection:
        marked = connection.execute(update(Model).where(*named).values(removed_at=now()))
        if unrecorded and not marked.rowcount:
            _insert_removed(connection, unrecorded, int(version))
        if needs := _needed_by(connection, model):
            connection.rollback()
            return needs
        set_aside()
    return []


def _insert_removed(connection: Connection, gone: NewModel, version: int) -> None:
    values = _values(gone) | {"version": version, "folder": "", "created_at": now(), "removed_at": now()}
    added = insert_or(connection, Model).values(**values)
    connection.execute(added.on_conflict_do_nothing(index_elements=["name", "version"]))


def needed_by(database: Database, model: str) -> list[str]:
    """What cannot end without a model: jobs ("job 3") and tunings ("tuning t1") that are not over.

    Args:
        model: as jobs name it, NAME@VERSION.
    """
    with database.read() as connection:
        return _needed_by(connection, model)


def _needed_by(connection: Connection, model: str) -> list[str]:
    jobs = select(Job.id).where(Job.model == model, Job.status.not_in(FINISHED_JOBS)).order_by(Job.id)
    under_way = (Tuning.base == model, Tuning.status.in_(TUNINGS_UNDER_WAY))
    tunings = select(Tuning.id).where(*under_way).order_by(Tuning.id)
    needing = [f"job {number}" for number in connection.scalars(jobs)]
    return needing + [f"tuning {tuning_reference(number)}" for number in connection.scalars(tunings)]


def outputs_made_with(database: Database, model: str) -> int:
    """How many stored outputs a model wrote."""
    jobs = select(Job.id).where(Job.model == model, Job.status != JobStatus.INGESTING)
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(Output).where(Output.job_id.in_(jobs))) or 0


def _stored(row: Any) -> StoredModel:
    return StoredModel(**{name: getattr(row, name) for name in StoredModel.__dataclass_fields__})
