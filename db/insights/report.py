"""What a report says of a job beside its counters: why texts are flagged, how they were decided, a few of them.

Reads little of a large job: groups of narrow rows, and single outputs spread evenly over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Select, and_, func, select

from contract.review import State
from db.insights.sample import draw_sample, first_and_last_output
from db.models import Output, Prompt, Provenance
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import standing_edit, standing_text

EXCERPT = 600
"""Characters of a text, and of a prompt, that are shown."""
MOST_KINDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One output, cut to an excerpt."""

    id: int
    position: int
    custom_id: str | None
    sample_index: int
    prompt: str
    text: str
    prompt_length: int
    text_length: int
    tokens: int
    finish_reason: str
    top_score: float | None
    flagged: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What a report shows of a job beside its counters."""

    reasons: dict[str, int]  # flagged outputs by reason, the most frequent first; an output may have several
    states: dict[State, int]  # outputs that people look at, by how they stand
    provenances: tuple[tuple[str, ...], ...]  # model, revision, engine, torch, device, dtype: what made the outputs
    unflagged: tuple[Example, ...]  # spread evenly over the job
    flagged: tuple[Example, ...]  # the highest scores first


def report_facts(database: Database, job_id: int, examples: int) -> ReportFacts:
    """The facts of a job, from one state of the database, with up to so many examples of each kind."""
    with database.read() as connection:
        return ReportFacts(
            reasons=_reasons(connection, job_id),
            states=_states(connection, job_id),
            provenances=_provenances(connection, job_id),
            unflagged=_unflagged(connection, job_id, examples),
            flagged=_flagged(connection, job_id, examples),
        )


def _reasons(connection: Connection, job_id: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    grouped = select(Review.reasons, func.count()).where(Review.job_id == job_id, Review.flagged)
    for reasons, number in connection.execute(grouped.group_by(Review.reasons)):
        for reason in orjson.loads(reasons or "[]"):
            counts[reason] = counts.get(reason, 0) + number
    return dict(sorted(counts.items(), key=lambda item: -item[1])[:MOST_KINDS])


def _states(connection: Connection, job_id: int) -> dict[State, int]:
    rows = connection.execute(
        select(Review.state, func.count()).where(Review.job_id == job_id).group_by(Review.state)
    ).all()
    return {State(state): number for state, number in rows}


def _provenances(connection: Connection, job_id: int) -> tuple[tuple[str, ...], ...]:
    sample = draw_sample(connection, job_id)
    used = sample.chosen(select(Output.provenance_id).distinct().select_from(Output)).limit(MOST_KINDS)
    columns = [Provenance.__table__.c[name] for name in ("model", "revision", "engine", "torch", "device", "dtype")]
    rows = connection.execute(select(*columns).where(Provenance.id.in_(used)).order_by(Provenance.id)).all()
    return tuple(tuple(row) for row in rows)


_EXAMPLE = (
    Output.id,
    Prompt.position,
    Prompt.custom_id,
    Output.sample_index,
    func.substr(Prompt.prompt, 1, EXCERPT).label("prompt"),
    func.substr(standing_text(), 1, EXCERPT).label("text"),
    func.length(Prompt.prompt).label("prompt_length"),
    func.length(standing_text()).label("text_length"),
    Output.tokens,
    Output.finish_reason,
    Output.top_score,
    Output.flagged,
    Output.flag_reasons,
)


def _examples() -> Select[Any]:
    """Outputs as they stand: an edited text has the scores of the edit."""
    query = select(*_EXAMPLE).join(Prompt, Prompt.id == Output.prompt_id)
    return query.outerjoin(Review, Review.output_id == Output.id).outerjoin(Decision, standing_edit())


def _unflagged(connection: Connection, job_id: int, number: int) -> tuple[Example, ...]:
    unflagged = and_(Output.job_id == job_id, ~Output.flagged)
    first, last = first_and_last_output(connection, job_id)
    examples: dict[int, Example] = {}
    for step in range(number):
        start = first + (last - first) * step // number
        query = _examples().where(unflagged, Output.id >= start)
        row = connection.execute(query.order_by(Output.id).limit(1)).first()
        if row is not None:
            examples[row.id] = _example(row)
    return tuple(examples.values())


def _flagged(connection: Connection, job_id: int, number: int) -> tuple[Example, ...]:
    worst = (
        select(Review.output_id)
        .where(Review.job_id == job_id, Review.flagged)
        .order_by(Review.top_score.desc(), Review.output_id)
        .limit(number)
    )
    query = _examples().where(Output.id.in_(worst)).order_by(Output.top_score.desc(), Output.id)
    return tuple(_example(row) for row in connection.execute(query))


def _example(row: Row[Any]) -> Example:
    values = {name: getattr(row, name) for name in Example.__dataclass_fields__ if name != "reasons"}
    return Example(**values, reasons=tuple(row.flag_reasons or ()))
