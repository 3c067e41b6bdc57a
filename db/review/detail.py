"""One output with everything a reviewer decides by: texts, scores, settings, its prompt's other samples, its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from contract.errors import NoSuchOutput
from contract.policy import DEFAULT_THRESHOLD, LABELS
from contract.review import Action, Seen, State
from contract.spec import PROVENANCE_FIELDS, Provenance, Safety, SamplingSettings
from db.jobs.jobs import stored_settings
from db.models import Job, Output, Prompt, Score
from db.models import Provenance as ProvenanceTable
from db.review.claims import CLAIM_LIVES, SECONDS_LEFT
from db.review.queue import EXCERPT_CHARACTERS
from db.review_models import Decision, Review, ReviewClaim
from db.session.engine import Database
from db.standing import REVISION, SCORES, STATE, VERSION, scores_in, scores_of, standing_edit, standing_text
from db.work.score_requests import RequestStatus, edit_request, is_served

MAX_SIBLINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEntry:
    """One entry of the record."""

    id: int
    reviewer: str
    action: Action
    from_state: State
    to_state: State
    reason: str | None
    text: str | None  # of an edit
    revision: int
    at: float  # seconds since the epoch
    undone: bool
    seen: Seen | None  # how its reviewer saw the text, where that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """Another sample of the same prompt."""

    output_id: int
    sample_index: int
    text: str  # that stands, its first characters
    state: State
    safety: Safety
    flagged: bool
    top_score: float | None


@dataclass(frozen=True, slots=True)
class CurrentClaim:
    """Who has an output in hand."""

    reviewer: str
    seconds: float  # left
    drawn: bool  # at random, for an audit


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDetail:
    """One output in full."""

    id: int
    job_id: int
    job_name: str
    job_safety: str
    model: str
    custom_id: str | None
    position: int
    sample_index: int
    samples: int  # n of its prompt
    prompt: str
    sent: str | None  # where the prompt was messages: what the model's chat template made of them
    metadata: dict[str, Any]
    text: str  # that stands
    original_text: str
    finish_reason: str
    tokens: int
    seed: int
    mean_logprob: float | None
    copied_tokens: int | None  # of the generated text, the longest run in the model's training text; None = not known
    settings: SamplingSettings
    made_by: Provenance
    created_at: float
    safety: Safety
    state: State
    flagged: bool
    reasons: tuple[str, ...]
    top_score: float | None
    scores: dict[str, float]  # of the text that stands; empty while it waits for them
    deciding: dict[str, tuple[int, int]]  # by label, the sentence of the text with its score; empty = by window
    thresholds: dict[str, float]  # of every label
    version: int
    revision: int
    decided_by: str | None  # whose decision stands
    history: tuple[RecordEntry, ...]  # oldest first
    siblings: tuple[Sibling, ...]
    edit: RequestStatus | None  # where the standing text is an edit: how its scoring stands
    claim: CurrentClaim | None

    @property
    def edited(self) -> bool:
        return self.revision > 0


def read_output(database: Database, output_id: int) -> OutputDetail:
    """One output.

    Raises:
        NoSuchOutput: there is none with that id.
    """
    with database.read() as connection:
        row = connection.execute(_query(output_id)).first()
        if row is None:
            raise NoSuchOutput(output_id)
        history = _history(connection, output_id)
        siblings = _siblings(connection, row.prompt_id, output_id)
        claim = _claim(connection, output_id)
        request = edit_request(connection, output_id, row.revision) if row.revision else None
    plain = ("id", "job_id", "job_name", "job_safety", "model", "custom_id", "position", "sample_index", "samples",
             "prompt", "sent", "text", "original_text", "finish_reason", "tokens", "seed", "mean_logprob",
             "copied_tokens", "created_at", "top_score", "version", "revision", "decided_by")  # fmt: skip
    return OutputDetail(
        **{name: getattr(row, name) for name in plain},
        metadata=row.extra or {},
        safety=Safety(row.safety),
        settings=stored_settings(stored_settings(SamplingSettings(), row.job_settings), row.own_settings),
        made_by=Provenance(**{name: getattr(row, f"made_{name}") for name in PROVENANCE_FIELDS}),
        state=State(row.state),
        flagged=bool(row.flagged),
        reasons=tuple(row.flag_reasons or ()),
        scores=scores_in(row),
        deciding={label: (start, end) for label, (start, end) in (row.deciding or {}).items()},
        thresholds={label: row.thresholds.get(label, DEFAULT_THRESHOLD) for label in LABELS},
        history=history,
        siblings=siblings,
        edit=None
        if request is None
        else RequestStatus(
            id=request.id,
            classifier=request.classifier,
            status=request.status,
            reason=request.reason,
            served=is_served(database, request.classifier, row.served_classifier_revision),
        ),
        claim=claim,
    )


def _query(output_id: int) -> Any:
    columns = ("id", "job_id", "prompt_id", "sample_index", "finish_reason", "tokens", "seed", "mean_logprob",
               "copied_tokens", "created_at", "safety", "flagged", "flag_reasons", "top_score")  # fmt: skip
    return (
        select(
            *(Output.__table__.c[name] for name in columns), Output.text.label("original_text"),
            standing_text().label("text"), Job.name.label("job_name"), Job.safety.label("job_safety"),
            Job.served_classifier_revision,
            ProvenanceTable.model, Job.settings.label("job_settings"), Job.thresholds, Prompt.custom_id,
            Prompt.position, Prompt.n.label("samples"), Prompt.prompt, Prompt.sent, Prompt.extra.label("extra"),
            Prompt.settings.label("own_settings"),
            *(ProvenanceTable.__table__.c[name].label(f"made_{name}") for name in PROVENANCE_FIELDS),
            *SCORES, Score.deciding,
            STATE.label("state"), REVISION.label("revision"), VERSION.label("version"), Review.decided_by,
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Job, Job.id == Output.job_id)
        .join(ProvenanceTable, ProvenanceTable.id == Output.provenance_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Decision, standing_edit())
        .outerjoin(Score, scores_of(REVISION))
        .where(Output.id == output_id)
    )  # fmt: skip


def _history(connection: Connection, output_id: int) -> tuple[RecordEntry, ...]:
    rows = connection.execute(
        select(Decision.__table__).where(Decision.output_id == output_id).order_by(Decision.id)
    ).all()
    undone = {row.undoes for row in rows}
    return tuple(
        RecordEntry(
            id=row.id,
            reviewer=row.reviewer,
            action=Action(row.action),
            from_state=State(row.from_state),
            to_state=State(row.to_state),
            reason=row.reason,
            text=row.text,
            revision=row.revision,
            at=row.created_at,
            undone=row.id in undone,
            seen=Seen(row.seen) if row.seen else None,
        )
        for row in rows
    )


def _siblings(connection: Connection, prompt_id: int, output_id: int) -> tuple[Sibling, ...]:
    query = (
        select(
            Output.id, Output.sample_index, func.substr(standing_text(), 1, EXCERPT_CHARACTERS).label("text"),
            STATE.label("state"), Output.flagged, Output.top_score, Output.safety,
        )
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Decision, standing_edit())
        .where(Output.prompt_id == prompt_id, Output.id != output_id)
        .order_by(Output.sample_index)
        .limit(MAX_SIBLINGS)
    )  # fmt: skip
    return tuple(
        Sibling(
            output_id=row.id,
            sample_index=row.sample_index,
            text=row.text,
            state=State(row.state),
            safety=Safety(row.safety),
            flagged=bool(row.flagged),
            top_score=row.top_score,
        )
        for row in connection.execute(query)
    )


def _claim(connection: Connection, output_id: int) -> CurrentClaim | None:
    held = select(ReviewClaim.reviewer, SECONDS_LEFT, ReviewClaim.drawn.is_not(None))
    held = held.where(ReviewClaim.output_id == output_id, CLAIM_LIVES)
    row = connection.execute(held).first()
    return None if row is None else CurrentClaim(*row)
