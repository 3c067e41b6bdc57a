"""Which texts a reviewer has had on the screen, and what has to be known of many texts before they are decided.

What is covered for whom is the page's to say; here are only looks and standing figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select

from contract.review import Seen
from contract.spec import Safety
from db.models import Output
from db.review_models import Look, Review
from db.session.dialect import id_chunks, insert_or
from db.session.engine import Database
from db.standing import REVISION

LESSER = {Seen.LISTED: (), Seen.SHOWN: (Seen.LISTED,), Seen.REVEALED: (Seen.LISTED, Seen.SHOWN)}


@dataclass(frozen=True, slots=True)
class Standing:
    """One of many outputs, as whoever decides them has to know it."""

    output_id: int
    top_score: float | None
    safety: Safety
    decided_by: str | None
    seen: Seen | None  # by this reviewer, the text that stands


def note_looks(database: Database, reviewer: str, revisions: Mapping[int, int], seen: Seen) -> None:
    """Notes that a reviewer has had texts on the screen: their revisions by output. A fuller look replaces a lesser."""
    with database.write() as connection:
        there = connection.scalars(select(Output.id).where(Output.id.in_(list(revisions))).order_by(Output.id))
        rows = [
            {"reviewer": reviewer, "output_id": output, "revision": revisions[output], "seen": seen.value}
            for output in there
        ]
        if not rows:
            return
        noting = insert_or(connection, Look).values(rows)
        lesser = Look.seen.in_(LESSER[seen])
        fuller = or_(Look.revision != noting.excluded.revision, lesser)
        changed = {"revision": noting.excluded.revision, "seen": noting.excluded.seen}
        connection.execute(noting.on_conflict_do_update(index_elements=["reviewer", "output_id"], set_=changed,
                                                        where=fuller))  # fmt: skip


def standing_of(database: Database, reviewer: str, ids: Sequence[int]) -> Iterator[Standing]:
    """How each of many outputs stands, and how this reviewer has seen it."""
    mine = and_(Look.output_id == Output.id, Look.reviewer == reviewer, Look.revision == REVISION)
    query = (
        select(Output.id, Output.top_score, Output.safety, Review.decided_by, Look.seen)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Look, mine)
    )
    with database.read() as connection:
        for chunk in id_chunks(ids):
            for row in connection.execute(query.where(Output.id.in_(chunk))):
                seen = Seen(row.seen) if row.seen else None
                yield Standing(row.id, row.top_score, Safety(row.safety), row.decided_by, seen)
