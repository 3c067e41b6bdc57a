"""Keeping `reviews` in step with outputs: what is flagged or decided is in it, with its flags and scores.

Functions here work inside the transaction that changed the outputs; who decides what is the business of `reviews`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy import text as sql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from contract.policy import LABELS
from contract.review import State
from db.models import Job, Output, Score
from db.review_models import NO_SCORE, Review
from db.search_index import index_words, words_of_outputs
from db.session.dialect import id_chunks, insert_or
from db.standing import REVISION, SCORES, UNDECIDED_STATE, scores_of


class random_lot(FunctionElement[int]):
    """A number from 0 to 2^31 - 1, drawn for each row by the database."""

    inherit_cache = True
    name = "random_lot"


@compiles(random_lot, "sqlite")
def _lot_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "abs(random() % 2147483648)"


@compiles(random_lot, "postgresql")
def _lot_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "CAST(floor(random() * 2147483648) AS INTEGER)"


def sync_reviews(connection: Connection, outputs: Iterable[int], *, keep: bool = False) -> None:
    """Brings the rows of these outputs in step: those that are flagged enter, those that nobody has to look at leave.

    Args:
        keep: let those enter too that are not flagged: somebody decides of them.
    """
    for ids in id_chunks(sorted(outputs)):
        _sync_chunk(connection, ids, keep)


def _sync_chunk(connection: Connection, ids: Sequence[int], keep: bool) -> None:
    undecided = Review.state.in_((State.PENDING.value, State.UNFLAGGED.value))
    values = dict(zip(_COPIED, _copied(), strict=True))
    theirs = true() if keep else or_(Output.flagged, Review.output_id.is_not(None))
    source = (
        select(Output.id, Output.job_id, UNDECIDED_STATE, random_lot(), *values.values())
        .join(Job, Job.id == Output.job_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Score, scores_of(REVISION))
        .where(Output.id.in_(ids), theirs)
    )
    entering = insert_or(connection, Review.__table__).from_select(
        ["output_id", "job_id", "state", "lot", *values], source
    )
    changed: dict[str, Any] = {name: entering.excluded[name] for name in values}
    # An edit keeps its text's place until it is scored: whoever goes on behind it would else be at the end.
    unscored = and_(Review.revision > 0, entering.excluded.top_score == NO_SCORE)
    changed["top_score"] = case((unscored, Review.top_score), else_=entering.excluded.top_score)
    changed["state"] = case((undecided, entering.excluded.state), else_=Review.state)
    connection.execute(entering.on_conflict_do_update(index_elements=["output_id"], set_=changed))
    leaving = and_(Review.output_id.in_(ids), Review.state == State.UNFLAGGED, Review.version == 0)
    if not keep:
        connection.execute(delete(Review).where(leaving))
    _index(connection, ids)


_COPIED = ("flagged", "top_score", "reasons", *LABELS)


def _copied() -> list[Any]:
    return [
        Output.flagged,
        func.coalesce(Output.top_score, literal(NO_SCORE)),
        cast(Output.flag_reasons, Text),
        *SCORES,
    ]


def _index(connection: Connection, ids: Sequence[int]) -> None:
    here = select(Review.output_id).where(Review.output_id.in_(ids))
    absent = sql("NOT EXISTS (SELECT 1 FROM review_words WHERE rowid = outputs.id)")
    fresh = words_of_outputs(connection, and_(Output.id.in_(here), absent))
    index_words(connection, "review_words", fresh.items())
