"""A filter as statements: which outputs match, in which order, from a place onwards or backwards.

What is flagged or decided is read from `reviews`, along an index of the order or, where a combination has none, through
its narrow rows. Views of everything go through `outputs` by number, for as long as one look may take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)

from contract.errors import UsageError
from contract.policy import DEFAULT_THRESHOLD
from contract.review import DECIDED_STATES, Filter, Order, Wanted
from db import search
from db.models import Job, Output, Score
from db.review_models import Review
from db.standing import scores_of

LOOK_SECONDS = 0.03
"""How long one page may search through everything before it says what it has so far."""
WINDOW = 2_000
"""Outputs that are looked through by one statement of such a search."""
NOWHERE_NEAR = 9.0
"""The distance from a threshold of a text without that score."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an order: just behind this output. Where the order is by number alone, `key` is 0."""

    key: float
    output_id: int


@dataclass(frozen=True, slots=True)
class Found:
    """Outputs in their order, and whether that is all there was time to look for."""

    ids: tuple[int, ...]
    more: bool  # there are, or may be, others behind the last
    complete: bool = True  # False: the look was over before there were enough
    behind: int | None = None  # the last output that was looked at, where it was not complete


class View:
    """One filter, read against a database as it is now: its jobs, their thresholds."""

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        """Raises:
        UsageError: where the query has no word in it.
        """
        self._connection, self.filter = connection, wanted
        self._jobs = self._matching_jobs() if wanted.job is not None or wanted.model is not None else None
        self.order = Order.OLDEST if self.through_outputs else wanted.order

    @property
    def through_outputs(self) -> bool:
        """Whether it shows outputs that nobody has to look at, too: those are not in `reviews`."""
        wanted = self.filter
        everything = wanted.wanted in (Wanted.ALL, Wanted.UNFLAGGED)
        return everything and not (wanted.query or wanted.reviewer or wanted.reason)

    def _matching_jobs(self) -> list[int]:
        query = select(Job.id)
        query = query if self.filter.job is None else query.where(Job.id == self.filter.job)
        query = query if self.filter.model is None else query.where(Job.model == self.filter.model)
        return list(self._connection.scalars(query))

    def _in_jobs(self, column: Any) -> Any:
        if self._jobs is None:
            return true()
        if len(self._jobs) == 1:
            return column == self._jobs[0]
        return column.in_(self._jobs) if self._jobs else false()

    def _in_range(self, column: Any) -> list[ColumnElement[bool]]:
        low, high = self.filter.low, self.filter.high
        within = [column >= low] if low is not None else []
        if high is not None:
            within.append(column < high if high < 1 else column <= 1)
        return within

    # What is in `reviews`.

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
        if self._few_may_match and self._connection.dialect.name == "sqlite":
            return literal_column(f"+reviews.{column.key}", column.type)  # sqlite.org/optoverview.html, "unary +"
        return column

    def conditions(self) -> list[ColumnElement[bool]]:
        wanted = self.filter
        parts = [self._in_state(), self._in_jobs(self._column(Review.job_id))]
        if wanted.label is not None:
            parts += self._in_range(Review.__table__.c[wanted.label])
        if wanted.reason is not None:
            quoted = '"blocklist:' if wanted.reason == "blocklist" else search.quoted(wanted.reason)
            parts.append(Review.reasons.contains(quoted, autoescape=True))
        if wanted.reviewer is not None:
            parts.append(Review.decided_by == wanted.reviewer)
        if wanted.query:
            sqlite = self._connection.dialect.name == "sqlite"
            parts.append(search.found(search.read_query(wanted.query), sqlite=sqlite))
        return parts

    def _in_state(self) -> Any:
        wanted = self.filter.wanted
        if wanted is Wanted.ALL:
            return true()
        if wanted is Wanted.FLAGGED:
            return Review.flagged == true()
        if wanted is Wanted.DECIDED:
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
        jobs = select(Job.id, Job.thresholds).where(self._in_jobs(Job.id))
        own = {row.id: row.thresholds[label] for row in self._connection.execute(jobs) if label in row.thresholds}
        by_threshold: dict[float, list[int]] = {}
        for job, threshold in own.items():
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

    # What is not.

    def windows(self, behind: int, *, forwards: bool) -> Iterator[tuple[int, int]]:
        """Stretches of output numbers, (first, last), that together hold all that may match behind one."""
        # Two looks: SQLite takes the least and the greatest from an index only where each is asked for alone.
        first = self._connection.scalar(select(func.min(Output.id)))
        last = self._connection.scalar(select(func.max(Output.id)))
        if first is None or last is None:
            return
        if forwards:
            for start in range(max(first, behind + 1), last + 1, WINDOW):
                yield start, min(start + WINDOW - 1, last)
        else:
            for end in range(min(last, behind - 1), first - 1, -WINDOW):
                yield max(end - WINDOW + 1, first), end

    def outputs(self, stretch: tuple[int, int], *, forwards: bool, extra: Sequence[Any] = ()) -> Select[Any]:
        """Ids of the matching outputs of a stretch of numbers."""
        query = select(Output.id).where(Output.id.between(*stretch), self._in_jobs(Output.job_id), *extra)
        if self.filter.wanted is Wanted.UNFLAGGED:
            query = query.where(~Output.flagged, Output.decision.is_(None))
        if self.filter.label is not None:
            # The scores of the text that was generated: an edit's are looked for among the flagged and decided ones.
            query = query.join(Job, Job.id == Output.job_id).join(Score, scores_of(0))
            query = query.where(*self._in_range(Score.__table__.c[self.filter.label]))
            # No score is over the highest one: most outputs are passed over without a look at their scores.
            decided = Output.decision.is_not(None)
            query = query.where(or_(Output.top_score >= (self.filter.low or 0.0), decided))
        return query.order_by(Output.id.asc() if forwards else Output.id.desc())

    # Both.

    def find(
        self,
        place: Place | None,
        limit: int,
        *,
        forwards: bool = True,
        extra: Sequence[Any] = (),
        seconds: float | None = LOOK_SECONDS,
    ) -> Found:
        """The next `limit` outputs behind a place, or the nearest before it, in the order they were met.

        Args:
            extra: further conditions, on `reviews` or on `outputs` as `through_outputs` says.
            seconds: how long a view of everything may be searched; None = to its end.
        """
        if not self.through_outputs:
            query = self.reviews(place, forwards=forwards, extra=extra).limit(limit + 1)
            ids = self._connection.scalars(query).all()
            return Found(tuple(ids[:limit]), more=len(ids) > limit)
        return self._search(place, limit, forwards, extra, seconds)

    def _search(
        self, place: Place | None, limit: int, forwards: bool, extra: Sequence[Any], seconds: float | None
    ) -> Found:
        behind = place.output_id if place else 0 if forwards else 2**62
        deadline = None if seconds is None else time.monotonic() + seconds
        ids: list[int] = []
        for stretch in self.windows(behind, forwards=forwards):
            query = self.outputs(stretch, forwards=forwards, extra=extra).limit(limit + 1 - len(ids))
            ids += self._connection.scalars(query)
            if len(ids) > limit:
                return Found(tuple(ids[:limit]), more=True)
            if deadline is not None and time.monotonic() > deadline:
                return Found(tuple(ids), more=True, complete=False, behind=stretch[1] if forwards else stretch[0])
        return Found(tuple(ids), more=False)

    def place_of(self, output_id: int) -> Place | None:
        """Where an output lies in this order; None where it is not in the view's table."""
        if self.order is Order.OLDEST:
            return Place(0, output_id)
        key = self._connection.scalar(select(self.key()).where(Review.output_id == output_id))
        return None if key is None else Place(float(key), output_id)


def read_cursor(view: View, cursor: str) -> tuple[Place, bool]:
    """A page's `next` or `previous` as a place and a direction.

    Raises:
        UsageError: where it is of another order, or was never a cursor.
    """
    try:
        order, direction, key, output = cursor.split("_")
        place, forwards = Place(float.fromhex(key), int(output)), {"n": True, "p": False}[direction]
        if not (-1e12 < place.key < 1e12 and 0 <= place.output_id < 2**62):
            raise ValueError(cursor)
    except (ValueError, KeyError, OverflowError):
        raise UsageError("this page's address is damaged; begin at the first page") from None
    if order != view.order:
        raise UsageError("this page's address is of another order; begin at the first page")
    return place, forwards


def write_cursor(view: View, place: Place, *, forwards: bool) -> str:
    """A place and a direction as text for an address."""
    return f"{view.order.value}_{'n' if forwards else 'p'}_{float(place.key).hex()}_{place.output_id}"
