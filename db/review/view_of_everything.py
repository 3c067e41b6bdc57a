"""The view of everything, also of what nobody has to look at: `outputs` by number, for a limited time a look."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from contract.review import Filter, Order, StateFilter
from db.models import Job, Output, Score
from db.review.paging import SEARCH_SECONDS, CappedCount, FoundOutputs, JobFilter, Place, score_in_range
from db.review_models import Decision
from db.standing import UNFLAGGED, scores_of

WINDOW = 2_000
"""Outputs that are looked through by one statement of such a search."""
ALL = 2**31


class ViewOfEverything:
    """A filter of all outputs. It knows one order, the oldest first."""

    order = Order.OLDEST

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        self._connection, self.filter = connection, wanted
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
        return bool(self.find(Place(0, output_id - 1), 1, extra=[Output.id == output_id], seconds=0).ids)

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

    def _outputs(self, stretch: tuple[int, int], *, forwards: bool, extra: Sequence[Any] = ()) -> Select[Any]:
        """Ids of the matching outputs of a stretch of numbers."""
        query = select(Output.id).where(Output.id.between(*stretch), self._jobs.matches(Output.job_id), *extra)
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
