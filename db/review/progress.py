"""How reviewing gets on: what a reviewer did, what all did, what is left, and how long it will take at this pace."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import orjson
from sqlalchemy import Connection, case, func, select

from contract.policy import BLOCKLIST
from contract.review import Action, Filter
from db.review.paging import CappedCount
from db.review.queue import count_matching
from db.review_models import Decision, Review
from db.session.engine import Database, now

PACE_DECISIONS, PACE_WINDOW = 200, 2000
"""Decisions that the pace is taken from, and the newest ones among which they are sought."""
LEFT_CAP = 10_000
DAY_SECONDS = 86_400.0
MAX_NAMES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewProgress:
    """The figures of one reviewer's sitting; what was undone, or decided anew by another, counts for nobody else."""

    mine: int
    everyone: int
    mine_today: int  # in the last 24 hours
    everyone_today: int
    left: CappedCount  # of the filter
    median_seconds: float | None  # a decision of mine, from the claim on; of everyone where I made none
    seconds_left: float | None  # at that pace, for one reviewer; None where nothing is left


def review_progress(database: Database, wanted: Filter, reviewer: str) -> ReviewProgress:
    """How a reviewer gets on with a view.

    Raises:
        UsageError: the filter's query has no word in it.
    """
    left = count_matching(database, wanted, LEFT_CAP)
    with database.read() as connection:
        mine, mine_today = _decided_counts(connection, reviewer)
        everyone, everyone_today = _decided_counts(connection, None)
        seconds = _pace(connection, reviewer) or _pace(connection, None)
    return ReviewProgress(
        mine=mine,
        everyone=everyone,
        mine_today=mine_today,
        everyone_today=everyone_today,
        left=left,
        median_seconds=seconds,
        seconds_left=seconds * left.number if seconds is not None and left.number else None,
    )


def _decided_counts(connection: Connection, reviewer: str | None) -> tuple[int, int]:
    """Outputs whose decision stands; and decisions of the last day, less those taken back then."""
    stands = select(func.count()).where(Review.decided_by.is_not(None))
    worth = case((Decision.action == Action.UNDO, -1), else_=1)
    lately = select(func.coalesce(func.sum(worth), 0)).where(Decision.created_at > now() - DAY_SECONDS)
    if reviewer is not None:
        stands, lately = stands.where(Review.decided_by == reviewer), lately.where(Decision.reviewer == reviewer)
    return connection.execute(stands).scalar_one(), max(int(connection.execute(lately).scalar_one()), 0)


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
