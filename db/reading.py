"""Reading a job's results in the order of its prompt file, in constant memory: what exports are made of."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, func, or_, select, true

from contract.known import Known
from contract.policy import LABELS
from contract.spec import PromptStatus, Safety, SamplingSettings
from db.jobs import stored_settings
from db.models import Output, Prompt, Provenance, Score
from db.review_rows import standing_edit, standing_text
from db.review_tables import Decision, Review
from db.session import Database

CHUNK_PROMPTS = 2000
FETCHED_ROWS = {"yield_per": 100}
"""Rows held at once: each may have a prompt and metadata of a megabyte. Without it PostgreSQL's driver would hold a
chunk's, and a prompt may have 1,000 outputs."""

WAITING_EDIT = "waiting"
"""What `outputs.decision` says of an edit whose text is not scored yet: it counts for nothing."""
APPROVING = ("approve", "edit")
"""What it says of an output that a person approved as it is, or edited: then its new text is scored too."""

SELECTIONS: dict[str, ColumnElement[bool]] = {
    "all": true(),
    "clean": and_(
        Output.safety == Safety.SCORED,
        ~Output.flagged,
        or_(Output.decision.is_(None), Output.decision.in_(APPROVING)),
        Prompt.status != PromptStatus.DEAD,
    ),
    "flagged": and_(Output.flagged, func.coalesce(Output.decision, "") != WAITING_EDIT),
    "approved": Output.decision.in_(APPROVING),
}
"""What `--only` can say, as conditions on an output and its prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRecord:
    """The decision that stands of an output."""

    action: str  # approve, reject, edit
    by: str
    at: float  # seconds since the epoch
    reason: str | None
    original_text: str | None  # as generated, where the output's text is an edit


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutput:
    """One output with its prompt, its scores and what made it. An edit's text stands in place of the generated one."""

    id: int
    position: int
    custom_id: str | None
    prompt: str
    prompt_status: str
    metadata: dict[str, Any]
    settings: SamplingSettings
    sample_index: int
    text: str
    created_at: float  # seconds since the epoch
    finish_reason: str
    tokens: int
    prompt_tokens: int
    seed: int
    mean_logprob: float | None
    logprobs: list[Any] | None  # of the generated text: none where an edit stands in its place
    scores: dict[str, float]  # of the text; empty while an edit waits for its own
    classifier: str | None  # that gave them, and its revision; None where there are none
    classifier_revision: str | None
    safety: str  # where it is on its way through the classifier: a contract.spec.Safety
    flagged: bool
    flag_reasons: list[str]
    decision: str | None
    review: ReviewRecord | None
    model: str
    revision: str
    engine: str
    torch: str
    device: str
    isa: str
    dtype: str
    threads: int
    processor: str
    numerics: str


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
) -> Generator[StoredOutput]:
    """A job's stored outputs by position and sample.

    Args:
        classifier: whose scores are wanted.
        base: the job's settings, over which each row's own are laid.
        only: names of `SELECTIONS`; an output that any of them takes is given.
    """
    query = _query(job_id, classifier, or_(*(SELECTIONS[name] for name in only)))
    settings = _Settings(base)
    for first, last in _ranges(database, job_id):
        with database.read(unhurried=True) as connection:
            here = query.where(Prompt.position >= first, Prompt.position < last)
            for row in connection.execute(here, execution_options=FETCHED_ROWS):
                yield _stored_output(row, settings)


_OUTPUT = ("id", "sample_index", "created_at", "finish_reason", "tokens", "prompt_tokens", "seed",
           "mean_logprob", "logprobs", "safety", "flagged", "decision")  # fmt: skip
_MADE_BY = ("model", "revision", "engine", "torch", "device", "isa", "dtype", "threads", "processor", "numerics")
_SCORED_BY = ("classifier", "classifier_revision")
_PLAIN = (*_OUTPUT, "text", "position", "custom_id", "prompt", "prompt_status", *_MADE_BY, *_SCORED_BY)
"""The fields that are columns as they stand; they lead in the query, and the scores follow them."""
_SCORES_FROM, _SCORES_TO = len(_PLAIN), len(_PLAIN) + len(LABELS)


def _query(job_id: int, classifier: str, chosen: ColumnElement[bool]) -> Select[Any]:
    revision = func.coalesce(Review.revision, 0)
    scores = and_(Score.output_id == Output.id, Score.revision == revision, Score.classifier == classifier)
    edit, last = Decision.__table__.alias("edit"), Decision.__table__.alias("last")
    return (
        select(
            *(Output.__table__.c[name] for name in _OUTPUT),
            standing_text(edit.c).label("text"),
            *(Prompt.position, Prompt.custom_id, Prompt.prompt, Prompt.status),
            *(Provenance.__table__.c[name] for name in _MADE_BY),
            *(Score.__table__.c[name] for name in _SCORED_BY),
            *(Score.__table__.c[label] for label in LABELS),
            last.c.action,
            last.c.reviewer,
            last.c.created_at,
            last.c.reason,
            case((Review.revision > 0, Output.text)).label("original_text"),
            Output.flag_reasons,
            Prompt.extra,
            cast(Prompt.settings, Text),  # unparsed: most rows say what the row before said
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Provenance, Provenance.id == Output.provenance_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Score, scores)
        .outerjoin(edit, standing_edit(edit.c))
        .outerjoin(last, last.c.id == Review.decision_id)
        .where(Prompt.job_id == job_id, chosen)
        .order_by(Prompt.position, Output.sample_index)
    )


def _stored_output(row: Sequence[Any], settings: _Settings) -> StoredOutput:
    *_, action, by, at, reason, original, flag_reasons, metadata, own = row
    scores = zip(LABELS, row[_SCORES_FROM:_SCORES_TO], strict=True)
    plain = dict(zip(_PLAIN, row, strict=False))
    if original is not None:
        plain["logprobs"] = None
    decided = action and ReviewRecord(action=action, by=by, at=at, reason=reason, original_text=original)
    return StoredOutput(
        **plain,
        review=decided or None,
        metadata=metadata or {},
        settings=settings.of(own),
        scores={label: score for label, score in scores if score is not None},
        flag_reasons=flag_reasons or [],
    )


class _Settings:
    """The effective settings of rows, each distinct combination read once; a row's own seed is laid over it."""

    def __init__(self, base: SamplingSettings) -> None:
        self._base = base
        self._known = Known[bytes, SamplingSettings]()

    def of(self, own: str | None) -> SamplingSettings:
        """The job's settings with a row's own, JSON text as SQL keeps it, laid over them."""
        if not own:
            return self._base
        stored = orjson.loads(own)
        seed = stored.pop("seed", None)
        key = orjson.dumps(stored)
        known = self._known.get(key)
        if known is None:
            known = stored_settings(self._base, stored)
            self._known.keep(key, known, len(key))
        return known if seed is None else replace(known, seed=seed)


def lost_prompts(database: Database, job_id: int) -> Generator[LostPrompt]:
    """A job's dead and cancelled prompts by position."""
    query = (
        select(Prompt.__table__)
        .where(Prompt.job_id == job_id, Prompt.status.in_((PromptStatus.DEAD, PromptStatus.CANCELLED)))
        .order_by(Prompt.position)
    )
    for first, last in _ranges(database, job_id):
        with database.read() as connection:
            here = query.where(Prompt.position >= first, Prompt.position < last)
            for row in connection.execute(here, execution_options=FETCHED_ROWS):
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
