"""The view of what is flagged or decided: `reviews`, along an index of the order.

Where a combination has no index, its narrow rows are read through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
)

from contract.policy import DEFAULT_THRESHOLD
from contract.review import DECIDED_STATES, Filter, Order, StateFilter
from db import search
from db.models import Job
from db.review.paging import SEARCH_SECONDS, CappedCount, FoundOutputs, JobFilter, Place, score_in_range
from db.review_models import Review
from db.session.dialect import is_sqlite

NOWHERE_NEAR = 9.0
"""The distance from a threshold of a text without that score."""


class ViewOfReviews:
    """A filter of what is in `reviews`, read against a database as it is now: its jobs, their thresholds."""

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        """Raises:
        UsageError: where the query has no word in it.
        """
        self._connection, self.filter, self.order = connection, wanted, wanted.order
        self.number: Any = Review.output_id
        self._jobs = JobFilter(connection, wanted)

    def find(
        self,
        place: Place | None,
        limit: int,
        *,
        forwards: bool = True,
        extra: Sequence[Any] = (),
        seconds: float | None = SEARCH_SECONDS,
    ) -> FoundOutputs:
        query = self.reviews(place, forwards=forwards, extra=extra).limit(limit + 1)
        ids = self._connection.scalars(query).all()
        return FoundOutputs(tuple(ids[:limit]), more=len(ids) > limit)

    def shows(self, output_id: int) -> bool:
        return bool(self.find(None, 1, extra=[Review.output_id == output_id]).ids)

    def place_of(self, output_id: int) -> Place | None:
        if self.order is Order.OLDEST:
            return Place(0, output_id)
        key = self._connection.scalar(select(self.key()).where(Review.output_id == output_id))
        return None if key is None else Place(float(key), output_id)

    def count(self, cap: int | None) -> CappedCount:
        matches = select(literal(1).label("one")).select_from(Review).where(*self.conditions())
        if cap is not None:
            matches = matches.limit(cap + 1)
        number = self._connection.execute(select(func.count()).select_from(matches.subquery())).scalar_one()
        return CappedCount(min(number, cap), number > cap) if cap is not None else CappedCount(number)

    def versions(self) -> list[tuple[int, int]]:
        query = self.reviews(None, forwards=True).add_columns(Review.version)
        return [(row.output_id, row.version) for row in self._connection.execute(query)]

    @property
    def _few_may_match(self) -> bool:
        """Whether a walk along an index may have to look up nearly every row before it has found a page."""
        wanted = self.filter
        ranged = wanted.low is not None or wanted.high is not None
        return bool(ranged or wanted.reason or wanted.reviewer)

    def _column(self, column: Any) -> Any:
        """A column of `reviews`; of SQLite's, written so that no index is taken for it where few rows may match.

        Reading the narrow rows one after the other is then several times faster than looking them all up.
        """
        if self._few_may_match and is_sqlite(self._connection):
            return literal_column(f"+reviews.{column.key}", column.type)  # sqlite.org/optoverview.html, "unary +"
        return column

    def conditions(self) -> list[ColumnElement[bool]]:
        wanted = self.filter
        parts = [self._in_state(), self._jobs.matches(self._column(Review.job_id))]
        if wanted.label is not None:
            parts += score_in_range(wanted, Review.__table__.c[wanted.label])
        if wanted.reason is not None:
            quoted = '"blocklist:' if wanted.reason == "blocklist" else search.reason_as_json(wanted.reason)
            parts.append(Review.reasons.contains(quoted, autoescape=True))
        if wanted.reviewer is not None:
            parts.append(Review.decided_by == wanted.reviewer)
        if wanted.query:
            parts.append(search.matches_query(search.read_query(wanted.query), sqlite=is_sqlite(self._connection)))
        return parts

    def _in_state(self) -> Any:
        wanted = self.filter.state
        if wanted is StateFilter.ALL:
            return true()
        if wanted is StateFilter.FLAGGED:
            return Review.flagged == true()
        if wanted is StateFilter.DECIDED:
            return self._column(Review.state).in_([state.value for state in DECIDED_STATES])
        return self._column(Review.state) == wanted.value

    def key(self) -> Any:
        """What the order goes by, of a row of `reviews`."""
        if self.order is Order.SCORE:
            return self._column(Review.top_score)
        if self.order is Order.RANDOM:
            return self._column(Review.lot)
        if self.order is Order.LABEL:
            return self._distance(Review.__table__.c[str(self.filter.label)])
        return literal(0)

    def _distance(self, score: Any) -> Any:
        label = str(self.filter.label)
        jobs = select(Job.id, Job.thresholds).where(self._jobs.matches(Job.id))
        thresholds = {
            row.id: row.thresholds[label] for row in self._connection.execute(jobs) if label in row.thresholds
        }
        by_threshold: dict[float, list[int]] = {}
        for job, threshold in thresholds.items():
            by_threshold.setdefault(threshold, []).append(job)
        limit: Any = literal(DEFAULT_THRESHOLD)
        if by_threshold:
            limit = case(*((Review.job_id.in_(jobs), x) for x, jobs in by_threshold.items()), else_=limit)
        return func.coalesce(func.abs(score - limit), NOWHERE_NEAR)

    def reviews(self, place: Place | None, *, forwards: bool, extra: Sequence[Any] = ()) -> Select[Any]:
        """Ids of the matching rows of `reviews` behind a place (or before it, nearest first)."""
        query = select(Review.output_id).where(*self.conditions(), *extra)
        descending = (self.order is Order.SCORE) == forwards
        if self.order is Order.OLDEST:
            columns: list[Any] = [self._column(Review.output_id)]
            values: list[Any] = [place.output_id] if place else []
        else:
            columns = [self.key(), self._column(Review.output_id)]
            values = [place.key, place.output_id] if place else []
        if place and len(columns) == 1:
            query = query.where(columns[0] < values[0] if descending else columns[0] > values[0])
        elif place:
            here, there = tuple_(*columns), tuple_(*map(literal, values))
            query = query.where(here < there if descending else here > there)
        return query.order_by(*(column.desc() if descending else column.asc() for column in columns))
