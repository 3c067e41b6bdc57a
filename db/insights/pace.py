"""When a job's newest texts were stored and scored: what its present pace is read from.

Knows rows and times, not rates: those are `review.stats.pace`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from db.models import Output, Score
from db.session.engine import Database, now

NEWEST = 4000
"""Rows that are looked at, at most; on a fast machine they cover some seconds, which is enough of them."""
RECENT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What was stored lately, newest first. Times are seconds since the epoch by the database's clock."""

    now: float
    texts: tuple[float, ...]
    tokens: tuple[int, ...]  # of each text
    scores: tuple[float, ...]


def arrivals(database: Database, job_id: int) -> Arrivals:
    """The newest texts and scores of a job, of the last minutes."""
    texts = (
        select(Output.created_at, Output.tokens).where(Output.job_id == job_id).order_by(Output.id.desc()).limit(NEWEST)
    )
    # The newest of all jobs first: a join in the order of scores would look for a job that nobody scores now in all.
    newest = select(Score.output_id, Score.created_at, Score.revision).order_by(Score.id.desc()).limit(NEWEST)
    found = newest.subquery()
    scores = (
        select(found.c.created_at)
        .join(Output, Output.id == found.c.output_id)
        .where(Output.job_id == job_id, found.c.revision == 0)
    )
    with database.read() as connection:
        present = connection.execute(select(now())).scalar_one()
        since = present - RECENT_SECONDS
        # After a step back of the clock, what was stored before it lies in the future for a while.
        stored = [row for row in connection.execute(texts) if since < row.created_at <= present]
        scored = sorted((at for at in connection.scalars(scores) if since < at <= present), reverse=True)
    stored.sort(key=lambda row: row.created_at, reverse=True)
    return Arrivals(
        now=present,
        texts=tuple(row.created_at for row in stored),
        tokens=tuple(row.tokens for row in stored),
        scores=tuple(scored),
    )
