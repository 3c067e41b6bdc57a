"""What ought to be stored: jobs, batches, prompts and texts as plain objects, and what their rows must say.

How operations change it is the business of `model`; nothing here knows a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from contract.spec import BatchStatus, JobStatus, PromptStatus, Safety

OPEN = (BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING)
HELD = (BatchStatus.GENERATING, BatchStatus.SCORING)
CLAIMABLE = (JobStatus.QUEUED, JobStatus.RUNNING)
UNDER_WAY = (*CLAIMABLE, JobStatus.PAUSED, JobStatus.CANCELLING)
PROMPT_TOKENS = 3
"""Of every prompt."""


@dataclass(eq=False, slots=True)
class JobPicture:
    """A job; `revision` is what its first claim settled."""

    id: int
    safety: str
    batch_size: int
    status: JobStatus = JobStatus.QUEUED
    revision: str | None = None
    threshold: float = 0.7
    words: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class BatchPicture:
    """A batch; the database gives its id when it is made."""

    job: JobPicture
    id: int = 0
    status: BatchStatus = BatchStatus.PENDING
    worker: str | None = None
    token: str | None = None
    expired: bool = False
    alone: bool = False
    deaths: int = 0
    expiries: int = 0

    def free(self) -> None:
        """Nobody holds it any more."""
        self.worker = self.token = None
        self.expired = self.alone = False


@dataclass(eq=False, slots=True)
class OutputPicture:
    """A stored text."""

    text: str
    tokens: int
    safety: Safety
    id: int = 0
    score_faults: int = 0
    toxicity: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class PromptPicture:
    """A prompt and its texts by sample index."""

    id: int
    batch: BatchPicture
    position: int
    n: int
    status: PromptStatus = PromptStatus.PENDING
    faults: int = 0
    deaths: int = 0
    reason: str | None = None
    outputs: dict[int, OutputPicture] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The samples that are not stored."""
        return [index for index in range(self.n) if index not in self.outputs]

    @property
    def lacks(self) -> bool:
        """Whether it waits for a text."""
        return self.status == PromptStatus.PENDING and bool(self.missing)


class JobLine(NamedTuple):
    """What a job's row says."""

    id: int
    status: str
    revision: str | None
    ended: bool


class BatchLine(NamedTuple):
    """What a batch's row says: its lease, and its counters."""

    id: int
    job: int
    status: str
    worker: str | None
    token: str | None
    expired: bool
    alone: bool
    deaths: int
    expiries: int
    prompts: int
    outputs: int
    done: int
    dead: int
    cancelled: int
    generated: int
    scored: int
    unscored: int
    flagged: int
    prompt_tokens: int
    generated_tokens: int


class PromptLine(NamedTuple):
    """What a prompt's row says."""

    id: int
    job: int
    batch: int
    position: int
    n: int
    status: str
    faults: int
    deaths: int
    reason: str | None


class OutputLine(NamedTuple):
    """What an output's row says, with its score and whether the review queue has it."""

    prompt: int
    sample: int
    text: str
    tokens: int
    safety: str
    score_faults: int
    toxicity: float | None
    reasons: tuple[str, ...]
    listed: bool


class Lines(NamedTuple):
    """Every row, in the order of ids; outputs in the order of prompts and samples."""

    jobs: list[JobLine]
    batches: list[BatchLine]
    prompts: list[PromptLine]
    outputs: list[OutputLine]

    def every(self) -> list[tuple[object, ...]]:
        """All of them, one after the other."""
        return [*self.jobs, *self.batches, *self.prompts, *self.outputs]


class Picture:
    """Everything that ought to be stored."""

    def __init__(self) -> None:
        self.jobs: dict[int, JobPicture] = {}
        self.batches: list[BatchPicture] = []  # in the order in which they were made
        self.prompts: dict[int, PromptPicture] = {}

    def prompts_of(self, owner: BatchPicture | JobPicture) -> list[PromptPicture]:
        """A batch's or a job's prompts, in the file's order."""
        return [prompt for prompt in self.prompts.values() if owner in (prompt.batch, prompt.batch.job)]

    def outputs_of(self, owner: BatchPicture | JobPicture) -> list[OutputPicture]:
        """A batch's or a job's texts."""
        return [prompt.outputs[index] for prompt in self.prompts_of(owner) for index in sorted(prompt.outputs)]

    def batches_of(self, job: JobPicture) -> list[BatchPicture]:
        return [batch for batch in self.batches if batch.job is job]

    def missing(self, batch: BatchPicture) -> list[tuple[int, int]]:
        """Prompt and sample of every text that a batch still needs."""
        return [(p.id, index) for p in self.prompts_of(batch) if p.lacks for index in p.missing]

    def waiting(self, batch: BatchPicture) -> list[OutputPicture]:
        """The texts of a batch that have no scores yet."""
        return [output for output in self.outputs_of(batch) if output.safety == Safety.WAITING]

    def name_new(self, ids: Sequence[int]) -> None:
        """Gives batches that an operation made the ids that the database gave them."""
        for batch, number in zip(self.batches, ids, strict=True):
            batch.id = batch.id or number

    def lines(self) -> Lines:
        """What every row must say."""
        return Lines(
            [JobLine(job.id, job.status, job.revision, job.status not in UNDER_WAY) for job in self.jobs.values()],
            [self._batch_line(batch) for batch in self.batches],
            [
                PromptLine(p.id, p.batch.job.id, p.batch.id, p.position, p.n, p.status, p.faults, p.deaths, p.reason)
                for p in self.prompts.values()
            ],
            [self._output_line(p.id, i, p.outputs[i]) for p in self.prompts.values() for i in sorted(p.outputs)],
        )

    def _batch_line(self, batch: BatchPicture) -> BatchLine:
        prompts = self.prompts_of(batch)
        lease = (batch.status, batch.worker, batch.token, batch.expired, batch.alone, batch.deaths, batch.expiries)
        return BatchLine(batch.id, batch.job.id, *lease, *self.counters(prompts))

    @staticmethod
    def counters(prompts: Iterable[PromptPicture]) -> tuple[int, ...]:
        """What a batch counts, of any prompts."""
        prompts = list(prompts)
        states = [prompt.status for prompt in prompts]
        outputs = [output for prompt in prompts for output in prompt.outputs.values()]
        safeties = [output.safety for output in outputs]
        return (
            len(prompts),
            sum(prompt.n for prompt in prompts),
            *(states.count(state) for state in (PromptStatus.DONE, PromptStatus.DEAD, PromptStatus.CANCELLED)),
            len(outputs),
            safeties.count(Safety.SCORED),
            safeties.count(Safety.UNSCORED),
            sum(bool(output.reasons) for output in outputs),
            PROMPT_TOKENS * sum(0 in prompt.outputs for prompt in prompts),
            sum(output.tokens for output in outputs),
        )

    @staticmethod
    def _output_line(prompt: int, index: int, output: OutputPicture) -> OutputLine:
        kept = (output.text, output.tokens, output.safety, output.score_faults, output.toxicity, output.reasons)
        return OutputLine(prompt, index, *kept, bool(output.reasons))
