"""How reviewing gets on: what a reviewer did, what all did, what is left, and how long it will take at this pace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

import orjson
from sqlalchemy import Connection, func, select

from contract.policy import BLOCKLIST
from contract.review import Filter, Order, StateFilter
from db.review.paging import CappedCount
from db.review.queue import count_matching
from db.review_models import Decision, Review
from db.session.engine import Database, now

PACE_DECISIONS, PACE_WINDOW = 200, 2000
"""Decisions that the pace is taken from, and the newest ones among which they are sought."""
LEFT_CAP = 10_000
DAY_SECONDS = 86_400.0
MAX_NAMES = 1000
UNDECIDED = {
    StateFilter.PENDING: (StateFilter.PENDING,),
    StateFilter.FLAGGED: (StateFilter.PENDING,),
    StateFilter.UNFLAGGED: (StateFilter.UNFLAGGED,),
    StateFilter.ALL: (StateFilter.PENDING, StateFilter.UNFLAGGED),
}
"""Of each filter's state, those that nobody has decided; of the others every output is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewProgress:
    """The figures of one reviewer's sitting; what was undone, or decided anew by another, counts for nobody else."""

    mine: int
    everyone: int
    mine_today: int  # of `mine`, those of the last 24 hours
    everyone_today: int
    left: CappedCount  # of the filter, undecided
    median_seconds: float | None  # a decision of mine, from the claim on; of everyone where I made none
    median_is_mine: bool
    seconds_left: float | None  # at that pace, for one reviewer; None where nothing is left


def review_progress(database: Database, wanted: Filter, reviewer: str) -> ReviewProgress:
    """How a reviewer gets on with a view.

    Raises:
        UsageError: the filter's query has no word in it.
    """
    left = _left(database, wanted)
    with database.read() as connection:
        mine, mine_today = _decided_counts(connection, reviewer)
        everyone, everyone_today = _decided_counts(connection, None)
        mine_seconds = _pace(connection, reviewer)
        seconds = mine_seconds if mine_seconds is not None else _pace(connection, None)
    return ReviewProgress(
        mine=mine,
        everyone=everyone,
        mine_today=mine_today,
        everyone_today=everyone_today,
        left=left,
        median_seconds=seconds,
        median_is_mine=mine_seconds is not None,
        seconds_left=seconds * left.number if seconds is not None and left.number else None,
    )


def _left(database: Database, wanted: Filter) -> CappedCount:
    """How many of a filter's outputs nobody has decided."""
    counts = [
        count_matching(database, replace(wanted, state=state, order=Order.OLDEST), LEFT_CAP)
        for state in UNDECIDED.get(wanted.state, ())
    ]
    number = sum(count.number for count in counts)
    return CappedCount(min(number, LEFT_CAP), number > LEFT_CAP or any(count.capped for count in counts))


def _decided_counts(connection: Connection, reviewer: str | None) -> tuple[int, int]:
    """Outputs whose decision stands; and those of them that were decided in the last day."""
    # Entries are numbered as they come: the day's begin at its first one, and one index holds all that is counted.
    day = select(Decision.id).where(Decision.created_at > now() - DAY_SECONDS).order_by(Decision.created_at).limit(1)
    lately = func.count().filter(Review.decision_id >= day.scalar_subquery())
    counts = select(func.count(), lately).select_from(Review)
    counts = counts.where(Review.decided_by.is_not(None) if reviewer is None else Review.decided_by == reviewer)
    everything, today = connection.execute(counts).one()
    return everything, today


def _pace(connection: Connection, reviewer: str | None) -> float | None:
    # Those of a bulk took nobody's time; only so many of them are looked through.
    recent = select(Decision.seconds).order_by(Decision.id.desc()).limit(PACE_WINDOW)
    recent = recent if reviewer is None else recent.where(Decision.reviewer == reviewer)
    seconds = [float(one) for one in connection.scalars(recent) if one is not None][:PACE_DECISIONS]
    return median(seconds) if seconds else None


def reviewers(database: Database) -> list[str]:
    """Everybody who ever decided, by name."""
    with database.read() as connection:
        # One look into the index for each name, and not one for each decision.
        names: list[str] = []
        while len(names) < MAX_NAMES:
            after = select(func.min(Decision.reviewer))
            after = after.where(Decision.reviewer > names[-1]) if names else after
            name = connection.scalar(after)
            if name is None:
                break
            names.append(name)
    return names


def known_reasons(database: Database, job: int | None = None) -> list[str]:
    """The flag reasons there are: labels first, then blocklist words."""
    query = select(Review.reasons).where(Review.reasons.is_not(None)).distinct()
    query = query if job is None else query.where(Review.job_id == job)
    with database.read() as connection:
        reasons_found = {reason for reasons in connection.scalars(query) for reason in orjson.loads(reasons or "[]")}
    return sorted(reasons_found, key=lambda reason: (reason.startswith(BLOCKLIST), reason))
