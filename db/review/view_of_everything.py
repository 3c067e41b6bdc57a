"""The view of everything, also of what nobody has to look at: `outputs` by number, for a limited time a look."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select, true

from contract.review import Filter, Order, StateFilter
from db import search
from db.models import Job, Output, Score
from db.review.paging import SEARCH_SECONDS, CappedCount, FoundOutputs, JobFilter, Place, score_in_range
from db.review_models import Decision
from db.session.dialect import is_sqlite
from db.standing import UNFLAGGED, scores_of

WINDOW, LARGEST_WINDOW = 2_000, 100_000
"""Outputs that are looked through by one statement: always as many, or more each time where an index has the words."""
QUERY_SECONDS = 0.5
"""How long one page may search for words: a search that breaks off looks like one that found nothing."""
ALL = 2**31


class ViewOfEverything:
    """A filter of all outputs. It knows one order, the oldest first."""

    order = Order.OLDEST

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        """Raises:
        UsageError: where the query has no word in it.
        """
        self._connection, self.filter = connection, wanted
        self._query = search.read_query(wanted.query) if wanted.query else None
        self.number: Any = Output.id
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
        behind = place.output_id if place else 0 if forwards else 2**62
        seconds = QUERY_SECONDS if seconds is not None and self._query else seconds
        deadline = None if seconds is None else time.monotonic() + seconds
        ids: list[int] = []
        for stretch in self._windows(behind, forwards=forwards):
            query = self._outputs(stretch, forwards=forwards, extra=extra).limit(limit + 1 - len(ids))
            ids += self._connection.scalars(query)
            if len(ids) > limit:
                return FoundOutputs(tuple(ids[:limit]), more=True)
            if deadline is not None and time.monotonic() > deadline:
                return FoundOutputs(
                    tuple(ids), more=True, complete=False, behind=stretch[1] if forwards else stretch[0]
                )
        return FoundOutputs(tuple(ids), more=False)

    def shows(self, output_id: int) -> bool:
        return self._connection.scalar(self._outputs((output_id, output_id), forwards=True)) is not None

    def place_of(self, output_id: int) -> Place | None:
        return Place(0, output_id)

    def count(self, cap: int | None) -> CappedCount:
        found = self.find(None, cap or ALL, seconds=SEARCH_SECONDS if cap else None)
        return CappedCount(len(found.ids), capped=found.more)

    def versions(self) -> list[tuple[int, int]]:
        ids = self.find(None, ALL, seconds=None).ids
        newest = select(Decision.output_id, func.max(Decision.id)).group_by(Decision.output_id)
        versions: dict[int, int] = dict(self._connection.execute(newest).all())
        return [(output, versions.get(output, 0)) for output in ids]

    def _windows(self, behind: int, *, forwards: bool) -> Iterator[tuple[int, int]]:
        """Stretches of output numbers, (first, last), that together hold all that may match behind one."""
        # Two looks: SQLite takes the least and the greatest from an index only where each is asked for alone.
        here = true() if self.filter.job is None else Output.job_id == self.filter.job
        first = self._connection.scalar(select(func.min(Output.id)).where(here))
        last = self._connection.scalar(select(func.max(Output.id)).where(here))
        if first is None or last is None:
            return
        sizes = self._window_sizes()
        if forwards:
            start = max(first, behind + 1)
            while start <= last:
                end = min(start + next(sizes) - 1, last)
                yield start, end
                start = end + 1
        else:
            end = min(last, behind - 1)
            while end >= first:
                start = max(end - next(sizes) + 1, first)
                yield start, end
                end = start - 1

    def _window_sizes(self) -> Iterator[int]:
        size = WINDOW
        while True:
            yield size
            if self._query:  # a frequent word fills the page at once, a rare one has few hits in many
                size = min(4 * size, LARGEST_WINDOW)

    def _outputs(self, stretch: tuple[int, int], *, forwards: bool, extra: Sequence[Any] = ()) -> Select[Any]:
        """Ids of the matching outputs of a stretch of numbers."""
        query = select(Output.id).where(Output.id.between(*stretch), self._jobs.matches(Output.job_id), *extra)
        if self._query:
            sqlite = is_sqlite(self._connection)
            query = query.where(search.matches_any_output(self._query, stretch, sqlite=sqlite))
        if self.filter.state is StateFilter.UNFLAGGED:
            query = query.where(UNFLAGGED)
        if self.filter.label is not None:
            # The scores of the text that was generated: an edit's are looked for among the flagged and decided ones.
            query = query.join(Job, Job.id == Output.job_id).join(Score, scores_of(0))
            query = query.where(*score_in_range(self.filter, Score.__table__.c[self.filter.label]))
            # No score is over the highest one: most outputs are passed over without a look at their scores.
            decided = Output.decision.is_not(None)
            query = query.where(or_(Output.top_score >= (self.filter.low or 0.0), decided))
        return query.order_by(Output.id.asc() if forwards else Output.id.desc())
