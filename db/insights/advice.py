"""What threshold advice is made of: how many texts score how much by one label, and what people decided about some.

Counts only, a hundredth of a score wide; what follows from them is `review.stats.advice`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, case, cast, false, func, select

from contract.review import State
from db.insights.figures import integer_part
from db.insights.sample import Sample, draw_sample
from db.models import Batch, Job, Output, Score
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import scores_of

BINS = 100
UNFIT = (State.REJECTED, State.EDITED, State.WAITING)
"""An edited text was not fit as it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts that score alike; estimated where they are not flagged and the job is sampled."""

    score_bin: int | None  # the hundredth of 0 to 1 that the label's score lies in; None = not scored
    flagged: bool
    other_reasons: bool  # flagged, and would be whatever this label's threshold
    number: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Decided texts that score alike and were decided alike."""

    score_bin: int | None
    flagged: bool  # by the policy of now
    other_reasons: bool
    drawn: bool  # at random, from those that were not flagged
    unfit: bool  # rejected or edited
    number: int
    weight: float  # of drawn ones: the sum of how many texts each stands for
    squares: float  # of drawn ones: the sum of the squares of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one label of one job."""

    counted: int  # outputs the unflagged figures are from
    total: int
    texts: tuple[Texts, ...]
    judged: tuple[Judged, ...]


def evidence(database: Database, job_id: int, label: str) -> Evidence:
    """The texts and the decisions of a job by their score in `label`.

    A decision on a text that was neither flagged nor drawn at random is left out: nobody knows for what it stands.
    """
    with database.read() as connection:
        sample = draw_sample(connection, job_id)
        flagged = _flagged(connection, job_id, label)
        unflagged = _unflagged(connection, sample, label)
        return Evidence(
            counted=sample.size,
            total=sample.total,
            texts=flagged + unflagged,
            judged=_judged(connection, job_id, label),
        )


def _flagged(connection: Connection, job_id: int, label: str) -> tuple[Texts, ...]:
    score_bin = _score_bin(Review.__table__.c[label])
    other_reasons = _other_reasons(Review.reasons, label)
    query = (
        select(score_bin, other_reasons, func.count())
        .where(Review.job_id == job_id, Review.flagged)
        .group_by(score_bin, other_reasons)
    )
    return tuple(
        Texts(score_bin=_capped(place), flagged=True, other_reasons=bool(other), number=number)
        for place, other, number in connection.execute(query)
    )


def _unflagged(connection: Connection, sample: Sample, label: str) -> tuple[Texts, ...]:
    job_id = sample.job_id
    score_bin = _score_bin(Score.__table__.c[label])
    query = (
        select(score_bin, func.count()).select_from(Output).join(Score, _as_generated(job_id)).where(~Output.flagged)
    )
    rows = connection.execute(sample.chosen(query).group_by(score_bin)).all()
    # To what is known of all outputs: the batches' counters say exactly how many are not flagged.
    sums = select(func.sum(Batch.scored + Batch.unscored), func.sum(Batch.flagged)).where(Batch.job_id == job_id)
    settled, flagged = (int(value or 0) for value in connection.execute(sums).one())
    seen = sum(number for _, number in rows)
    scale = 1.0 if sample.complete or not seen else (settled - flagged) / seen
    return tuple(
        Texts(score_bin=_capped(place), flagged=False, other_reasons=False, number=number * scale)
        for place, number in rows
    )


def _judged(connection: Connection, job_id: int, label: str) -> tuple[Judged, ...]:
    score_bin = _score_bin(Score.__table__.c[label])
    # An edit's flag and reasons are those of the new text: what it was decided on counts here.
    flagged = case((Review.revision > 0, Decision.flagged), else_=Review.flagged)
    other_reasons = case(
        (Review.revision > 0, false()), else_=and_(Review.flagged, _other_reasons(Review.reasons, label))
    )
    drawn, unfit = Decision.drawn.is_not(None), Decision.to_state.in_(UNFIT)
    kind = (score_bin, flagged, other_reasons, drawn, unfit)
    stands_for = 1 / Decision.drawn
    query = (
        select(*kind, func.count(), func.sum(stands_for), func.sum(stands_for * stands_for))
        .select_from(Review)
        .join(Decision, Decision.id == Review.decision_id)
        .outerjoin(Score, _as_generated(job_id, Review.output_id))
        .where(Review.job_id == job_id, Decision.flagged | drawn)
        .group_by(*kind)
    )
    return tuple(
        Judged(
            score_bin=_capped(row[0]),
            flagged=bool(row[1]),
            other_reasons=bool(row[2]),
            drawn=bool(row[3]),
            unfit=bool(row[4]),
            number=row[5],
            weight=row[6] or 0.0,
            squares=row[7] or 0.0,
        )
        for row in connection.execute(query)
    )


def _score_bin(score: ColumnElement[Any]) -> ColumnElement[int]:
    return integer_part(score * BINS)


def _capped(place: int | None) -> int | None:
    return None if place is None else min(place, BINS - 1)  # 1.0 belongs to the last one


def _other_reasons(reasons: Any, label: str) -> ColumnElement[bool]:
    """Whether anything but this label speaks among the flag reasons, a JSON list."""
    return func.coalesce(func.replace(cast(reasons, Text), " ", "") != f'["{label}"]', False)


def _as_generated(job_id: int, output: Any = Output.id) -> ColumnElement[bool]:
    return scores_of(0, select(Job.safety).where(Job.id == job_id).scalar_subquery(), output)
