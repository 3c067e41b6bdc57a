"""Reading a job's results in the order of its prompt file, in constant memory: what exports are made of."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, Text, and_, case, cast, func, or_, select, true

from common.bounded_memo import BoundedMemo
from contract.failures import FailureCode, failure_code
from contract.policy import LABELS
from contract.review import APPROVED_STATES, State
from contract.spec import Messages, PromptStatus, Safety, SamplingSettings
from contract.text_flaws import TextFlaw, text_flaws
from db.jobs.jobs import JobRow, stored_settings, used_settings
from db.jobs.reflag import finish_reflag
from db.jobs.requeue import given_up
from db.jobs.status import JobSnapshot, snapshot_in
from db.models import Job, Output, Prompt, Provenance, Score
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import REVISION, SCORES, STORED_DECISIONS, scores_of, standing_edit, standing_text

CHUNK_PROMPTS = 2000
FETCHED_ROWS = 32
"""Rows held at once. Each may be a megabyte: a prompt, its metadata, the log probabilities of a thousand tokens."""

WAITING_EDIT = STORED_DECISIONS[State.WAITING]
"""What `outputs.decision` says of an edit whose text is not scored yet: it counts for nothing."""
APPROVING = tuple(STORED_DECISIONS[state] for state in APPROVED_STATES)
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
    prompt: str  # of messages: they as one text
    messages: Messages | None
    sent: str | None  # what the model's chat template made of them
    prompt_status: str
    metadata: dict[str, Any]
    settings: SamplingSettings  # it was made with
    sample_index: int
    text: str
    created_at: float  # seconds since the epoch
    finish_reason: str
    tokens: int
    prompt_tokens: int
    seed: int
    mean_logprob: float | None
    fitted: dict[str, int] | None  # what was really used, where `on_too_long` made it fit
    copied_tokens: int | None  # of the generated text, the longest run in the model's training text; None = not known
    logprobs: list[Any] | None  # of the generated text: none where an edit stands in its place
    scores: dict[str, float]  # of the text; empty while an edit waits for its own
    classifier: str | None  # that gave them, and its revision; None where there are none
    classifier_revision: str | None
    score_by: str | None  # a contract.policy.ScoreBy
    deciding: dict[str, list[int]] | None  # by label, [start, end] in the text of the sentence that has its score
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

    @property
    def flaws(self) -> set[TextFlaw]:
        """What makes the text worthless."""
        edited = self.review is not None and self.review.original_text is not None
        return text_flaws(self.text, self.finish_reason, edited=edited)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPrompt:
    """A dead or cancelled prompt."""

    position: int
    custom_id: str | None
    prompt: str  # of messages: they as one text
    messages: Messages | None
    metadata: dict[str, Any]
    status: str
    reason: str | None
    code: str | None  # as it is stored

    @property
    def failure(self) -> FailureCode | None:
        """Why it is dead; None if it was cancelled."""
        return failure_code(self.code) if self.status == PromptStatus.DEAD else None

    def line(self, job_id: int) -> dict[str, Any]:
        """Its line in a file of such prompts, which can be corrected and submitted."""
        return {
            "job": job_id,
            "custom_id": self.custom_id,
            "position": self.position,
            "prompt": self.prompt,
            **({"messages": self.messages} if self.messages else {}),
            "status": self.status,
            "code": self.failure,
            "reason": self.reason,
            "metadata": self.metadata or None,
        }


class Results:
    """A job's results as they were when the first of them was read, however long that takes and whatever is done to
    the job meanwhile."""

    def __init__(self, connection: Connection, job: JobRow) -> None:
        self._connection, self._job = connection, job

    def status(self) -> JobSnapshot:
        """How the job stood."""
        return snapshot_in(self._connection, self._job.id)

    def is_fully_reflagged(self) -> bool:
        """Whether every flag is by the policy that the job states: a reflag may be half way."""
        reflagged_to = select(Job.reflagged_to).where(Job.id == self._job.id)
        return self._connection.scalar(reflagged_to) is None

    def outputs(self, only: Sequence[str] = ("all",), without: Collection[TextFlaw] = ()) -> Generator[StoredOutput]:
        """Outputs by position and sample.

        Args:
            only: names of `SELECTIONS`; an output that any of them takes is given.
            without: an output whose text has any of these flaws is left out.
        """
        query = _query(self._job.id, self._job.safety, or_(*(SELECTIONS[name] for name in only)))
        made, settings = _RowReader(), _RowSettings(self._job.settings)
        for row in self.by_position(query):
            output = made.output(row, settings)
            if not (without and output.flaws.intersection(without)):
                yield output

    def metadata(self) -> Iterator[dict[str, Any]]:
        """The metadata of every prompt that has some, whatever became of the prompt, by position."""
        query = select(cast(Prompt.extra, Text)).where(Prompt.job_id == self._job.id, Prompt.extra.is_not(None))
        for (metadata,) in self.by_position(query.order_by(Prompt.position)):
            yield _parsed(metadata)

    def made_up_ids(self) -> str:
        """What a made-up custom_id may begin with, a position behind it, so that no prompt of the job has the same."""
        prefix, taken = "", or_(*(Prompt.custom_id.startswith(str(digit)) for digit in range(10)))
        while self._connection.scalar(select(Prompt.id).where(Prompt.job_id == self._job.id, taken).limit(1)):
            prefix = prefix + "-" if prefix else "prompt-"
            # SQLite's LIKE takes capitals for small letters; PostgreSQL's has to give the same.
            taken = func.lower(Prompt.custom_id).startswith(prefix, autoescape=True)
        return prefix

    def lost_prompts(self, code: FailureCode | None = None) -> Generator[LostPrompt]:
        """Dead and cancelled prompts by position; or those alone that are dead of one code."""
        columns = [Prompt.__table__.c[name] for name in _LOST]
        lost = given_up(code)
        query = select(*columns, cast(Prompt.messages, Text), cast(Prompt.extra, Text)).order_by(Prompt.position)
        for *plain, messages, metadata in self.by_position(query.where(Prompt.job_id == self._job.id, lost)):
            yield LostPrompt(
                **dict(zip(_LOST, plain, strict=True)), messages=_parsed(messages), metadata=_parsed(metadata) or {}
            )

    def by_position(self, query: Select[Any]) -> Iterator[Sequence[Any]]:
        """The rows of `query`, a range of positions after the other, few of them held at once."""
        newest = select(Prompt.position).where(Prompt.job_id == self._job.id).order_by(Prompt.position.desc()).limit(1)
        last = self._connection.scalar(newest)
        for first in range(0, -1 if last is None else last + 1, CHUNK_PROMPTS):
            here = query.where(Prompt.position >= first, Prompt.position < first + CHUNK_PROMPTS)
            with self._connection.execute(here, execution_options={"yield_per": FETCHED_ROWS}) as rows:
                yield from rows


@contextmanager
def reading_results(database: Database, job: JobRow) -> Iterator[Results]:
    """One transaction in which a job's results are read: no longer than a disk takes, for it keeps SQLite's WAL from
    being used again, and PostgreSQL's old rows from being cleaned away."""
    with database.read(unhurried=True) as connection:
        yield Results(connection, job)


@contextmanager
def reading_judged_results(database: Database, job: JobRow) -> Iterator[Results]:
    """`reading_results` in which every flag is by the policy that the job states: a reflag that is under way, or was
    killed half way, comes to its end first."""
    while True:
        with reading_results(database, job) as results:
            if results.is_fully_reflagged():
                yield results
                return
        finish_reflag(database, job.id)


_OUTPUT = ("id", "sample_index", "created_at", "finish_reason", "tokens", "prompt_tokens", "seed",
           "mean_logprob", "fitted", "copied_tokens", "safety", "flagged", "decision")  # fmt: skip
_MADE_BY = ("model", "revision", "engine", "torch", "device", "isa", "dtype", "threads", "processor", "numerics")
_SCORED_BY = ("classifier", "classifier_revision", "score_by")
_PLAIN = (*_OUTPUT, "text", "position", "custom_id", "prompt", "sent", "prompt_status", *_MADE_BY, *_SCORED_BY)
"""The fields that are columns as they stand; they lead in the query, and the scores follow them."""
_LOST = ("position", "custom_id", "prompt", "status", "reason", "code")
_SCORES_FROM, _SCORES_TO = len(_PLAIN), len(_PLAIN) + len(LABELS)


def _query(job_id: int, classifier: str, chosen: ColumnElement[bool]) -> Select[Any]:
    edit, last = Decision.__table__.alias("edit"), Decision.__table__.alias("last")
    return (
        select(
            *(Output.__table__.c[name] for name in _OUTPUT),
            standing_text(edit.c).label("text"),
            *(Prompt.position, Prompt.custom_id, Prompt.prompt, Prompt.sent, Prompt.status),
            *(Provenance.__table__.c[name] for name in _MADE_BY),
            *(Score.__table__.c[name] for name in _SCORED_BY),
            *SCORES,
            last.c.action,
            last.c.reviewer,
            last.c.created_at,
            last.c.reason,
            case((Review.revision > 0, Output.text)).label("original_text"),
            # Unparsed: many rows are held at once, and most say what the row before said.
            cast(Score.deciding, Text),
            cast(Output.logprobs, Text),
            cast(Output.flag_reasons, Text),
            cast(Prompt.messages, Text),
            cast(Prompt.extra, Text),
            cast(Prompt.settings, Text),
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Provenance, Provenance.id == Output.provenance_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Score, scores_of(REVISION, classifier))
        .outerjoin(edit, standing_edit(edit.c))
        .outerjoin(last, last.c.id == Review.decision_id)
        .where(Prompt.job_id == job_id, chosen)
        .order_by(Prompt.position, Output.sample_index)
    )


class _RowReader:
    """Makes outputs of rows. Those of one prompt share its texts and its metadata."""

    def __init__(self) -> None:
        self._position = -1
        self._prompt: dict[str, Any] = {}

    def output(self, row: Sequence[Any], settings: _RowSettings) -> StoredOutput:
        *_, action, by, at, reason, original, deciding, logprobs, flag_reasons, messages, metadata, own = row
        scores = zip(LABELS, row[_SCORES_FROM:_SCORES_TO], strict=True)
        plain = dict(zip(_PLAIN, row, strict=False))
        decided = action and ReviewRecord(action=action, by=by, at=at, reason=reason, original_text=original)
        return StoredOutput(
            **plain | self._of_prompt(plain, messages, metadata),
            review=decided or None,
            logprobs=_parsed(logprobs) if original is None else None,
            settings=used_settings(settings.of(own), plain["fitted"]),
            scores={label: score for label, score in scores if score is not None},
            deciding=_parsed(deciding),
            flag_reasons=_parsed(flag_reasons) or [],
        )

    def _of_prompt(self, plain: dict[str, Any], messages: str | None, metadata: str | None) -> dict[str, Any]:
        if plain["position"] != self._position:
            self._position = plain["position"]
            texts = {name: plain[name] for name in ("prompt", "sent")}
            self._prompt = texts | {"messages": _parsed(messages), "metadata": _parsed(metadata) or {}}
        return self._prompt


def _parsed(stored: str | None) -> Any:
    return None if stored is None else orjson.loads(stored)


class _RowSettings:
    """The effective settings of rows, each distinct combination read once; a row's own seed is laid over it."""

    def __init__(self, base: SamplingSettings) -> None:
        self._base = base
        self._known = BoundedMemo[bytes, SamplingSettings]()

    def of(self, own: str | None) -> SamplingSettings:
        """The job's settings with a row's own, JSON text as SQL keeps it, laid over them."""
        if not own:
            return self._base
        stored = orjson.loads(own)
        seed = stored.pop("seed", None)
        key = orjson.dumps(stored)
        known = self._known.get(key, lambda: stored_settings(self._base, stored), lambda _: len(key))
        return known if seed is None else replace(known, seed=seed)
