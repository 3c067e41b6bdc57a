"""What the two kinds of view share: a place in an order, what was found behind it, and the jobs that a filter names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, false, select, true

from contract.review import Filter
from db.models import Job

SEARCH_SECONDS = 0.03
"""How long one page may search through everything before it says what it has so far."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an order: just behind this output. Where the order is by number alone, `key` is 0."""

    key: float
    output_id: int


@dataclass(frozen=True, slots=True)
class FoundOutputs:
    """Outputs in their order, and whether that is all there was time to look for."""

    ids: tuple[int, ...]
    more: bool  # there are, or may be, others behind the last
    complete: bool = True  # False: the look was over before there were enough
    behind: int | None = None  # the last output that was looked at, where it was not complete


@dataclass(frozen=True, slots=True)
class CappedCount:
    """How many match; `capped`: at least so many."""

    number: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}" + ("+" if self.capped else "")


class JobFilter:
    """The jobs that a filter names."""

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        self._ids = None if wanted.job is None and wanted.model is None else _matching(connection, wanted)

    def matches(self, column: Any) -> Any:
        """Whether a column's job is one of them."""
        if self._ids is None:
            return true()
        if len(self._ids) == 1:
            return column == self._ids[0]
        return column.in_(self._ids) if self._ids else false()


def _matching(connection: Connection, wanted: Filter) -> list[int]:
    query = select(Job.id)
    query = query if wanted.job is None else query.where(Job.id == wanted.job)
    query = query if wanted.model is None else query.where(Job.model == wanted.model)
    return list(connection.scalars(query))


def score_in_range(wanted: Filter, score: Any) -> list[ColumnElement[bool]]:
    """Conditions: a score lies where the filter says."""
    within = [score >= wanted.low] if wanted.low is not None else []
    if wanted.high is not None:
        within.append(score < wanted.high if wanted.high < 1 else score <= 1)
    return within
