"""What a tuning shows while it runs: its newest figures, and the points of its curves with their samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from db.session.dialect import insert_or
from db.session.engine import Database, now
from db.tuning.claims import TuningClaim, fence
from db.tuning_models import Tuning, TuningPoint

TRAIN, VALIDATION, SAMPLES = "train", "validation", "samples"
"""The kinds of points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one step showed."""

    step: int
    kind: str  # TRAIN, VALIDATION or SAMPLES
    values: Mapping[str, Any]


def save_progress(
    database: Database, claim: TuningClaim, progress: Mapping[str, Any] | None = None, points: Sequence[Point] = ()
) -> None:
    """Stores the newest figures and points. A step that was shown before a restart is shown anew in its place; one
    that goes further than ever forgives the deaths so far.

    Raises:
        LeaseLost: where the claim is not this worker's any more; nothing is stored then.
    """
    with database.write() as connection:
        fence(connection, claim, **({} if progress is None else {"progress": dict(progress)}))
        if points:
            _add(connection, claim.tuning_id, points)


def _add(connection: Connection, tuning_id: int, points: Sequence[Point]) -> None:
    furthest = select(func.max(TuningPoint.step)).where(TuningPoint.tuning_id == tuning_id)
    before = connection.scalar(furthest)
    rows = [
        {"tuning_id": tuning_id, "step": one.step, "kind": one.kind, "values": dict(one.values), "created_at": now()}
        for one in points
    ]
    for row in rows:
        added = insert_or(connection, TuningPoint).values(row)
        anew = {"values": added.excluded["values"], "created_at": added.excluded.created_at}
        connection.execute(added.on_conflict_do_update(index_elements=["tuning_id", "step", "kind"], set_=anew))
    if before is None or max(one.step for one in points) > before:
        connection.execute(update(Tuning).where(Tuning.id == tuning_id, Tuning.deaths > 0).values(deaths=0))


def curve(database: Database, tuning_id: int, kinds: Sequence[str] = (TRAIN, VALIDATION, SAMPLES)) -> list[Point]:
    """The points of a tuning, by step."""
    columns = (TuningPoint.step, TuningPoint.kind, TuningPoint.__table__.c["values"])
    query = select(*columns).where(TuningPoint.tuning_id == tuning_id, TuningPoint.kind.in_(kinds))
    with database.read() as connection:
        rows = connection.execute(query.order_by(TuningPoint.step, TuningPoint.kind)).all()
    return [Point(step=row.step, kind=row.kind, values=row[2]) for row in rows]
