"""The way of a stored text back: which model wrote it, and which outputs that one was taught, with their decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from contract.errors import NoSuchOutput
from db.models import Job, Output, Prompt, Provenance
from db.review_models import Decision
from db.session.engine import Database
from db.tuning_models import TuningOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenOutput:
    """An output and what wrote it."""

    id: int
    job: int
    custom_id: str | None
    position: int
    sample_index: int
    seed: int
    model: str
    revision: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingDecision:
    """What a person decided of an output before it was learned from."""

    id: int
    action: str
    by: str
    at: float
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedOutput:
    """An output in a corpus."""

    id: int
    job: int
    custom_id: str | None
    model: str  # that wrote it
    revision: int  # of its text: 0 as generated, k the k-th edit
    decision: StandingDecision | None


def written_output(database: Database, output_id: int) -> WrittenOutput:
    """An output and what wrote it.

    Raises:
        NoSuchOutput: there is none of that number.
    """
    query = (
        select(
            *(Output.id, Output.job_id.label("job"), Prompt.custom_id, Prompt.position, Output.sample_index),
            *(Output.seed, Provenance.model, Provenance.revision, Output.created_at),
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Provenance, Provenance.id == Output.provenance_id)
        .where(Output.id == output_id)
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise NoSuchOutput(output_id)
    return WrittenOutput(**row._mapping)


def count_learned(database: Database, tuning_id: int) -> int:
    """How many outputs a tuning learned from."""
    query = select(func.count()).select_from(TuningOutput).where(TuningOutput.tuning_id == tuning_id)
    with database.read() as connection:
        return connection.scalar(query) or 0


def learned_outputs(database: Database, tuning_id: int, limit: int | None = None) -> list[LearnedOutput]:
    """The outputs that a tuning learned from, by number."""
    query = (
        select(
            *(Output.id, Output.job_id.label("job"), Prompt.custom_id, Job.model, TuningOutput.revision),
            *(Decision.id.label("decision"), Decision.action, Decision.reviewer, Decision.created_at, Decision.reason),
        )
        .join(Output, Output.id == TuningOutput.output_id)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Job, Job.id == Output.job_id)
        .join(Decision, Decision.id == TuningOutput.decision_id, isouter=True)
        .where(TuningOutput.tuning_id == tuning_id)
        .order_by(Output.id)
        .limit(limit)
    )
    with database.read() as connection:
        return [_learned(row) for row in connection.execute(query)]


def _learned(row: Any) -> LearnedOutput:
    same = {name: getattr(row, name) for name in ("id", "job", "custom_id", "model", "revision")}
    if row.decision is None:
        return LearnedOutput(**same, decision=None)
    decision = StandingDecision(
        id=row.decision, action=row.action, by=row.reviewer, at=row.created_at, reason=row.reason
    )
    return LearnedOutput(**same, decision=decision)
