"""When a job's texts and scores were stored: a bounded number of rows, found by index however large the job is.

Knows rows and times, not rates: those are `pace`'s business. Times are seconds since the epoch by the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from sqlalchemy import ColumnElement, Connection, Row, SQLColumnExpression, and_, func, select

from db.insights.sample import first_and_last_output, numbers
from db.models import Batch, Output, Prompt, Score

NEWEST_TEXTS = 2000
"""On a fast machine these cover some seconds, which is enough."""
NEWEST_SCORES = 1200
"""About so many: those of whole batches, at least five of the usual size, which a fast scorer saves at once."""
MAX_BATCHES = 500
SAVE_SECONDS = 0.03
"""PostgreSQL's clock goes on while the rows of one save are stored."""
SAMPLES = 128

_SCORED = and_(Score.output_id == Output.id, Score.revision == 0)


@dataclass(frozen=True, slots=True)
class Save:
    """Texts or scores that were stored together."""

    at: float
    count: int
    tokens: int = 0
    ready: float = 0.0  # when work on them could begin: of scores, when the last text of their batch was there


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What was stored of a job most recently, oldest first."""

    texts: tuple[Save, ...] = ()
    scores: tuple[Save, ...] = ()


def read_arrivals(connection: Connection, job_id: int) -> Arrivals:
    """A job's newest saves, however long ago they were."""
    return Arrivals(_merge(_newest_texts(connection, job_id)), _merge(_newest_scores(connection, job_id)))


def _newest_texts(connection: Connection, job_id: int) -> list[Save]:
    newest = select(Output.created_at, Output.tokens).where(Output.job_id == job_id)
    texts = newest.order_by(Output.id.desc()).limit(NEWEST_TEXTS).subquery().c
    # The database adds up what is stored together: a list of jobs would spend its time on single rows.
    saves = select(func.min(texts.created_at), func.count(), func.sum(texts.tokens)).group_by(_moment(texts.created_at))
    return [Save(at, count, int(tokens)) for at, count, tokens in connection.execute(saves)]


def _newest_scores(connection: Connection, job_id: int) -> list[Save]:
    batches = _scored_batches(connection, job_id)
    if not batches:
        return []
    saves = (
        select(
            Prompt.batch_id,
            func.max(Output.created_at).label("written"),
            func.min(Score.created_at).label("scored"),
            func.count().label("texts"),
        )
        .join(Output, Output.prompt_id == Prompt.id)
        .outerjoin(Score, _SCORED)
        .where(Prompt.batch_id.in_([batch.id for batch in batches]), *_some_samples(batches))
        .group_by(Prompt.batch_id, _moment(Score.created_at))
    )
    rows = connection.execute(saves).all()
    if not rows:
        return []
    stands_for = sum(batch.generated for batch in batches) / sum(row.texts for row in rows)
    ready: dict[int, float] = {}
    for row in rows:
        ready[row.batch_id] = max(row.written, ready.get(row.batch_id, 0.0))
    scored = [row for row in rows if row.scored is not None]
    return [Save(row.scored, round(row.texts * stands_for), ready=ready[row.batch_id]) for row in scored]


def _scored_batches(connection: Connection, job_id: int) -> list[Row[int, int, int, int]]:
    """By way of the batches: the newest scores of all jobs would tell nothing of one that others were scored after."""
    begun = select(Batch.id, Batch.prompts, Batch.outputs, Batch.generated)
    begun = begun.where(Batch.job_id == job_id, Batch.scored > 0).order_by(Batch.id.desc()).limit(MAX_BATCHES)
    batches: list[Row[int, int, int, int]] = []
    texts = 0
    for batch in connection.execute(begun):
        if texts < NEWEST_SCORES:
            batches.append(batch)
            texts += batch.generated
    return batches


def _some_samples(batches: Sequence[Row[int, int, int, int]]) -> list[ColumnElement[bool]]:
    """Narrows batches whose prompts have many samples each, evenly, to about as many rows as are wanted."""
    step = sum(batch.generated for batch in batches) // NEWEST_SCORES
    if step <= 1:
        return []
    samples = ceil(sum(batch.outputs for batch in batches) / sum(batch.prompts for batch in batches))
    return [Output.sample_index.in_(range(0, samples, step))]


def _moment(at: SQLColumnExpression[float]) -> ColumnElement[float]:
    """The same for rows of one save; seldom, a save is cut in two, which `_merge` joins."""
    return func.round(at / SAVE_SECONDS)


def _merge(saves: Iterable[Save]) -> tuple[Save, ...]:
    """The saves in order of time, those at nearly the same moment as one."""
    merged: list[Save] = []
    for save in sorted(saves, key=lambda save: save.at):
        last = merged[-1] if merged else None
        if last is None or save.at - last.at > SAVE_SECONDS:
            merged.append(save)
        else:
            count, tokens = last.count + save.count, last.tokens + save.tokens
            merged[-1] = Save(last.at, count, tokens, max(last.ready, save.ready))
    return tuple(merged)


def sampled_times(connection: Connection, job_id: int) -> list[float]:
    """When some of a job's texts were stored and scored, evenly spread over all of them, oldest first."""
    first, last = first_and_last_output(connection, job_id)
    # Where several jobs were written at once, some of these ids are another's.
    ids = select(first + numbers(SAMPLES).c.number * ((last - first) // SAMPLES + 1))
    times = select(Output.created_at, Score.created_at).outerjoin(Score, _SCORED)
    rows = connection.execute(times.where(Output.id.in_(ids), Output.job_id == job_id))
    return sorted(at for row in rows for at in row if at is not None)
