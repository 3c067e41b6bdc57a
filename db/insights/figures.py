"""What a job's outputs look like together: the figures that its charts are drawn from.

Counts only: how they are drawn is the page's business. Large jobs are sampled, and every answer says of how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    String,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from contract.policy import LABELS
from contract.spec import Safety
from db.insights.sample import Sample, draw_sample
from db.models import Job, Output, Prompt, Score
from db.session.engine import Database
from db.standing import SCORES, scores_of

SCORE_BINS = 20
MOST_TIMES = 60
MOST_KEYS, MOST_VALUES = 12, 12
LONGEST_VALUE = 80
WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Seconds that one bar of the timeline may cover."""


class integer_part(FunctionElement[int]):
    """The integer part of a number that is not negative; PostgreSQL's CAST would round it."""

    type = Integer()
    inherit_cache = True
    name = "integer_part"


@compiles(integer_part, "postgresql")
def _integer_part_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(floor({compiler.process(element.clauses, **kw)}) AS INTEGER)"


@compiles(integer_part, "sqlite")
def _integer_part_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS INTEGER)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was stored in one stretch of time; estimated where the job is sampled."""

    start: float  # seconds since the epoch
    outputs: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueShare:
    """The outputs whose prompt's metadata has one value under a key, among those counted."""

    value: str
    outputs: int
    flagged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShares:
    """One metadata key, its most frequent values first."""

    key: str
    distinct: int  # values there are
    values: tuple[ValueShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Insights:
    """A job's figures. Counts are of the sample; a scale of 1 means that all are counted."""

    total: int
    counted: int
    scale: float
    scores: dict[str, tuple[int, ...]]  # by label: outputs in each of SCORE_BINS equal parts of 0 to 1
    moments: tuple[Moment, ...]
    moment_seconds: int
    first_at: float  # when the first and the last output were stored; 0 where there is none
    last_at: float
    lengths: dict[int, int]  # outputs by tokens
    finishes: dict[str, int]  # outputs by finish reason
    keys: tuple[KeyShares, ...]


def insights(database: Database, job_id: int) -> Insights:
    """The figures of a job, from one state of the database."""
    with database.read() as connection:
        sample = draw_sample(connection, job_id)
        start, end = _ends(connection, job_id)
        width, moments = _moments(connection, sample, start, end)
        lengths, finishes = _lengths(connection, sample)
        return Insights(
            total=sample.total,
            counted=sample.size,
            scale=sample.scale,
            scores=_scores(connection, sample),
            moments=moments,
            moment_seconds=width,
            first_at=start,
            last_at=end,
            lengths=lengths,
            finishes=finishes,
            keys=_keys(connection, sample),
        )


def labels_of(database: Database, job_id: int) -> list[str]:
    """The labels that a job's classifier gives scores for, by its first scored text."""
    scored = select(Output.id).where(Output.job_id == job_id, Output.safety == Safety.SCORED)
    # The output first, by its index: joined at once, SQLite would read scores until one of this job comes.
    first = (
        select(*SCORES)
        .select_from(Output)
        .join(Job, Job.id == Output.job_id)
        .join(Score, scores_of(0))
        .where(Output.id == scored.order_by(Output.id).limit(1).scalar_subquery())
    )
    with database.read() as connection:
        row = connection.execute(first).first()
    return [] if row is None else [label for label, score in zip(LABELS, row, strict=True) if score is not None]


def _scores(connection: Connection, sample: Sample) -> dict[str, tuple[int, ...]]:
    # All labels' parts at once: texts that score alike fall together, so the groups are few and the pass is one.
    binned = [integer_part(score * SCORE_BINS).label(score.key) for score in SCORES]
    classifier = select(Job.safety).where(Job.id == sample.job_id).scalar_subquery()
    query = sample.chosen(select(*binned, func.count()).select_from(Output).join(Score, scores_of(0, classifier)))
    counts = {label: [0] * SCORE_BINS for label in LABELS}
    seen = set()
    for *bins, number in connection.execute(query.group_by(*binned)):
        for label, place in zip(LABELS, bins, strict=True):
            if place is not None:
                counts[label][min(place, SCORE_BINS - 1)] += number  # 1.0 belongs to the last part
                seen.add(label)
    return {label: tuple(counts[label]) for label in LABELS if label in seen}


def _moments(connection: Connection, sample: Sample, start: float, end: float) -> tuple[int, tuple[Moment, ...]]:
    if not sample.total:
        return 1, ()
    width = next((width for width in WIDTHS if (end - start) / width < MOST_TIMES), WIDTHS[-1])
    origin = start // width * width
    index = integer_part((Output.created_at - origin) / float(width)).label("moment")
    query = select(index, func.count(), func.sum(Output.tokens)).select_from(Output)
    last = int((end - origin) // width)
    outputs, tokens = [0] * (last + 1), [0] * (last + 1)
    for place, count, summed in connection.execute(sample.chosen(query).group_by(index)):
        moment = min(max(place, 0), last)
        outputs[moment] += count
        tokens[moment] += int(summed)
    return width, tuple(
        Moment(start=origin + i * width, outputs=outputs[i] * sample.scale, tokens=tokens[i] * sample.scale)
        for i in range(last + 1)
    )


def _ends(connection: Connection, job_id: int) -> tuple[float, float]:
    """When a job's first and last rows were stored; 0 where there is none."""
    times = select(Output.created_at).where(Output.job_id == job_id).limit(1)
    first, last = (connection.scalar(times.order_by(order)) for order in (Output.id, Output.id.desc()))
    return first or 0.0, max(first or 0.0, last or 0.0)


def _lengths(connection: Connection, sample: Sample) -> tuple[dict[int, int], dict[str, int]]:
    kind = (Output.finish_reason, Output.tokens)
    query = sample.chosen(select(*kind, func.count()).select_from(Output)).group_by(*kind)
    lengths: dict[int, int] = {}
    finishes: dict[str, int] = {}
    for reason, tokens, number in connection.execute(query):
        lengths[tokens] = lengths.get(tokens, 0) + number
        finishes[reason] = finishes.get(reason, 0) + number
    return dict(sorted(lengths.items())), dict(sorted(finishes.items()))


def _keys(connection: Connection, sample: Sample) -> tuple[KeyShares, ...]:
    """Metadata keys with simple values (texts, numbers, true and false); the most frequent ones."""
    query = _pairs(sample, connection.dialect.name == "sqlite").subquery()
    flagged = func.sum(case((query.c.flagged, 1), else_=0)).label("flagged")
    outputs = func.count().label("outputs")
    grouped = select(query.c.key, query.c.value, outputs, flagged).group_by(query.c.key, query.c.value).subquery()
    g = grouped.c
    ranked = select(
        *(g.key, g.value, g.outputs, g.flagged),
        func.row_number().over(partition_by=g.key, order_by=(g.outputs.desc(), g.value)).label("place"),
        func.count().over(partition_by=g.key).label("distinct_values"),
        func.sum(g.outputs).over(partition_by=g.key).label("weight"),
    ).subquery()
    r = ranked.c
    shown = select(ranked).where(r.place <= MOST_VALUES).order_by(r.weight.desc(), r.key, r.place)
    return _by_key(connection.execute(shown).all())


def _by_key(rows: Sequence[Row[Any]]) -> tuple[KeyShares, ...]:
    keys: dict[str, list[Row[Any]]] = {}
    for row in rows:
        keys.setdefault(row.key, []).append(row)
    return tuple(
        KeyShares(
            key=key,
            distinct=values[0].distinct_values,
            values=tuple(ValueShare(value=r.value, outputs=r.outputs, flagged=int(r.flagged)) for r in values),
        )
        for key, values in list(keys.items())[:MOST_KEYS]
    )


def _pairs(sample: Sample, sqlite: bool) -> Select[Any]:
    """One row for each counted output and each simple value in its prompt's metadata: key, value, flagged."""
    each = func.json_each(Prompt.extra)
    if sqlite:
        pair = each.table_valued("key", "value", "type")
        kind: ColumnElement[Any] = pair.c.type
        simple: tuple[str, ...] = ("text", "integer", "real", "true", "false")
        # SQLite gives true and false as 1 and 0.
        value: ColumnElement[Any] = case((kind.in_(("true", "false")), kind), else_=cast(pair.c.value, Text))
        readable: list[ColumnElement[bool]] = []
    else:
        pair = each.table_valued("key", "value")
        kind = func.json_typeof(pair.c.value)
        simple = ("string", "number", "boolean")
        value = pair.c.value.op("#>>", return_type=String())(literal_column("'{}'"))
        # PostgreSQL stores U+0000 in JSON and cannot give it back.
        readable = [func.strpos(cast(Prompt.extra, Text), "\\u0000") == 0]
    query = (
        select(pair.c.key.label("key"), func.substr(value, 1, LONGEST_VALUE).label("value"), Output.flagged)
        .select_from(Output)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .where(Prompt.extra.is_not(None), *readable)
    )
    return sample.chosen(query).join(pair, kind.in_(simple))
