"""When a job's texts were stored and scored: a bounded number of rows, found by index however large the job is.

Knows rows and times, not rates: those are `pace`'s business. Times are seconds since the epoch by the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from db.models import Batch, Output, Prompt, Score

NEWEST_TEXTS = 3000
"""On a fast machine these cover some seconds, which is enough of them."""
NEWEST_SCORES = 2000
"""About so many: the texts of whole batches."""
MOST_BATCHES = 500
TOGETHER_SECONDS = 0.03
"""PostgreSQL's clock goes on while the rows of one save are stored."""
SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Saved:
    """Texts or scores that were stored together."""

    at: float
    count: int
    tokens: int = 0
    ready: float = 0.0  # when work on them could begin: of scores, when the last text of their batch was there


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What was stored of a job most recently, oldest first."""

    texts: tuple[Saved, ...] = ()
    scores: tuple[Saved, ...] = ()


def arrivals(connection: Connection, job_id: int) -> Arrivals:
    """A job's newest saves, however long ago they were."""
    newest = (
        select(Output.created_at, Output.tokens)
        .where(Output.job_id == job_id)
        .order_by(Output.id.desc())
        .limit(NEWEST_TEXTS)
    )
    texts = [Saved(row.created_at, 1, row.tokens) for row in connection.execute(newest)]
    return Arrivals(_together(texts), _together(_scores(connection, job_id)))


def _scores(connection: Connection, job_id: int) -> list[Saved]:
    batches = _scored_batches(connection, job_id)
    if not batches:
        return []
    scored = and_(Score.output_id == Output.id, Score.revision == 0)
    rows = connection.execute(
        select(Prompt.batch_id, Output.created_at.label("written"), Score.created_at.label("scored"))
        .join(Output, Output.prompt_id == Prompt.id)
        .outerjoin(Score, scored)
        .where(Prompt.batch_id.in_(batches))
    ).all()
    ready: dict[int, float] = {}
    for row in rows:
        ready[row.batch_id] = max(row.written, ready.get(row.batch_id, 0.0))
    return [Saved(row.scored, 1, ready=ready[row.batch_id]) for row in rows if row.scored is not None]


def _scored_batches(connection: Connection, job_id: int) -> list[int]:
    """By way of the batches: the newest scores of all jobs would tell nothing of one that others were scored after."""
    begun = select(Batch.id, Batch.generated).where(Batch.job_id == job_id, Batch.scored > 0)
    found: list[int] = []
    rows = 0
    for batch in connection.execute(begun.order_by(Batch.id.desc()).limit(MOST_BATCHES)):
        if rows < NEWEST_SCORES:
            found.append(batch.id)
            rows += batch.generated
    return found


def _together(rows: Iterable[Saved]) -> tuple[Saved, ...]:
    """Rows of one save as one, oldest first."""
    saves: list[Saved] = []
    began = float("-inf")
    for row in sorted(rows, key=lambda row: row.at):
        if row.at - began > TOGETHER_SECONDS:
            began = row.at
            saves.append(row)
        else:
            last = saves[-1]
            ready = max(last.ready, row.ready)
            saves[-1] = Saved(row.at, last.count + row.count, last.tokens + row.tokens, ready)
    return tuple(saves)


def sampled_times(connection: Connection, job_id: int) -> Sequence[float]:
    """When some of a job's texts were stored and scored, evenly spread over all of them, oldest first."""
    # Each by itself, so that each is one step into the index.
    ends = [select(end).where(Output.job_id == job_id) for end in (func.min(Output.id), func.max(Output.id))]
    first, last = connection.execute(select(*(end.scalar_subquery() for end in ends))).one()
    if first is None:
        return []
    step = max((last - first) / SAMPLES, 1)
    # Where several jobs were written at once, some of these are another's.
    drawn = sorted({round(first + step * i) for i in range(SAMPLES + 1)})
    scored = and_(Score.output_id == Output.id, Score.revision == 0)
    rows = connection.execute(
        select(Output.created_at, Score.created_at)
        .outerjoin(Score, scored)
        .where(Output.id.in_(drawn), Output.job_id == job_id)
    )
    return sorted(at for row in rows for at in row if at is not None)
