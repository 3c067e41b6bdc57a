"""Reading a job's results in the order of its prompt file, in constant memory: what exports are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select, true

from contract.policy import LABELS
from contract.spec import PromptStatus, Safety, SamplingSettings
from db.jobs import stored_settings
from db.models import Output, Prompt, Provenance, Score
from db.session import Database

CHUNK_PROMPTS = 2000

SELECTIONS: dict[str, ColumnElement[bool]] = {
    "all": true(),
    "clean": and_(
        Output.safety == Safety.SCORED,
        ~Output.flagged,
        or_(Output.decision.is_(None), Output.decision != "reject"),
        Prompt.status != PromptStatus.DEAD,
    ),
    "flagged": Output.flagged == true(),
    "approved": Output.decision == "approve",
}
"""What `--only` can say, as conditions on an output and its prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutput:
    """One output with its prompt, its scores and what made it."""

    id: int
    position: int
    custom_id: str | None
    prompt: str
    metadata: dict[str, Any]
    settings: SamplingSettings
    sample_index: int
    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    seed: int
    mean_logprob: float | None
    logprobs: list[Any] | None
    scores: dict[str, float]
    flagged: bool
    flag_reasons: list[str]
    decision: str | None
    model: str
    revision: str
    engine: str
    torch: str
    device: str
    isa: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPrompt:
    """A dead or cancelled prompt."""

    position: int
    custom_id: str | None
    prompt: str
    metadata: dict[str, Any]
    status: str
    reason: str | None


def outputs_in_order(
    database: Database, job_id: int, classifier: str, base: SamplingSettings, only: tuple[str, ...] = ("all",)
) -> Iterator[StoredOutput]:
    """A job's stored outputs by position and sample.

    Args:
        classifier: whose scores are wanted.
        base: the job's settings, over which each row's own are laid.
        only: names of `SELECTIONS`; an output that any of them takes is given.
    """
    chosen = or_(*(SELECTIONS[name] for name in only))
    scores = and_(Score.output_id == Output.id, Score.revision == 0, Score.classifier == classifier)
    query = (
        select(
            Output.__table__,
            Prompt.position,
            Prompt.custom_id,
            Prompt.prompt,
            Prompt.extra.label("extra"),
            Prompt.settings.label("row_settings"),
            *(Score.__table__.c[label] for label in LABELS),
            *(Provenance.__table__.c[name] for name in _MADE_BY),
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Provenance, Provenance.id == Output.provenance_id)
        .outerjoin(Score, scores)
        .where(Prompt.job_id == job_id, chosen)
        .order_by(Prompt.position, Output.sample_index)
    )
    for first, last in _ranges(database, job_id):
        with database.read() as connection:
            here = query.where(Prompt.position >= first, Prompt.position < last)
            for row in connection.execute(here):
                yield _stored_output(row, base)


_MADE_BY = ("model", "revision", "engine", "torch", "device", "isa", "dtype")
_OWN = ("id", "position", "custom_id", "prompt", "sample_index", "text", "finish_reason", "tokens", "prompt_tokens",
        "seed", "mean_logprob", "logprobs", "flagged", "decision", *_MADE_BY)  # fmt: skip


def _stored_output(row: Row[Any], base: SamplingSettings) -> StoredOutput:
    scores = {label: getattr(row, label) for label in LABELS}
    return StoredOutput(
        **{name: getattr(row, name) for name in _OWN},
        metadata=row.extra or {},
        settings=stored_settings(base, row.row_settings),
        scores={label: score for label, score in scores.items() if score is not None},
        flag_reasons=row.flag_reasons or [],
    )


def lost_prompts(database: Database, job_id: int) -> Iterator[LostPrompt]:
    """A job's dead and cancelled prompts by position."""
    query = (
        select(Prompt.__table__)
        .where(Prompt.job_id == job_id, Prompt.status.in_((PromptStatus.DEAD, PromptStatus.CANCELLED)))
        .order_by(Prompt.position)
    )
    for first, last in _ranges(database, job_id):
        with database.read() as connection:
            for row in connection.execute(query.where(Prompt.position >= first, Prompt.position < last)):
                yield LostPrompt(
                    position=row.position,
                    custom_id=row.custom_id,
                    prompt=row.prompt,
                    metadata=row.metadata or {},
                    status=row.status,
                    reason=row.reason,
                )


def _ranges(database: Database, job_id: int) -> Iterator[tuple[int, int]]:
    with database.read() as connection:
        last = connection.scalar(
            select(Prompt.position).where(Prompt.job_id == job_id).order_by(Prompt.position.desc()).limit(1)
        )
    for first in range(0, -1 if last is None else last + 1, CHUNK_PROMPTS):
        yield first, first + CHUNK_PROMPTS
