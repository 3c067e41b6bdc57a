"""The job spec: what a prompt's sampling settings are, what a job is, and the states things pass through.

Names are those of Hugging Face's GenerationConfig. This module reads values that are already parsed;
files belong to the producer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from contract.errors import Problem, SettingsError
from contract.policy import ScoreBy

SEED_LIMIT = 2**53
"""Seeds stay below this, so that they survive JSON readers that know only doubles."""


class JobStatus(StrEnum):
    """Where a job is."""

    INGESTING = "ingesting"  # its prompts are being written; nobody may claim them
    QUEUED = "queued"  # complete in SQL, nothing claimed yet
    RUNNING = "running"  # at least one batch was claimed
    COMPLETED = "completed"  # every prompt done or dead, every output settled
    PAUSED = "paused"  # a user paused it: nothing more of it is claimed until it is resumed
    CANCELLING = "cancelling"  # a user cancelled it, work still in hand is being wound up
    CANCELLED = "cancelled"  # cancelled, nothing left to do
    FAILED = "failed"  # its model or classifier could not be loaded by the stack that ran it


FINISHED_JOBS = frozenset({JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED})
CLAIMABLE_JOBS = (JobStatus.QUEUED, JobStatus.RUNNING)
JOBS_UNDER_WAY = (*CLAIMABLE_JOBS, JobStatus.PAUSED, JobStatus.CANCELLING)


class TuningStatus(StrEnum):
    """Where a tuning is."""

    QUEUED = "queued"  # its corpus is prepared; no worker has it
    RUNNING = "running"  # a worker has it
    PAUSED = "paused"  # it cannot go on for now, such as with a full disk: until it is retried
    COMPLETED = "completed"  # its model is in the store
    CANCELLING = "cancelling"  # a user cancelled it, and a worker still has it
    CANCELLED = "cancelled"
    FAILED = "failed"  # with an error


FINISHED_TUNINGS = frozenset({TuningStatus.COMPLETED, TuningStatus.CANCELLED, TuningStatus.FAILED})
TUNINGS_UNDER_WAY = (TuningStatus.QUEUED, TuningStatus.RUNNING, TuningStatus.PAUSED, TuningStatus.CANCELLING)


class BatchStatus(StrEnum):
    """Where a batch is: the unit that one task claims and one crash can cost."""

    PENDING = "pending"
    GENERATING = "generating"
    GENERATED = "generated"  # every prompt has its texts or is dead; scores are missing
    SCORING = "scoring"
    DONE = "done"
    CANCELLED = "cancelled"  # nothing of it is stored


class PromptStatus(StrEnum):
    """Where a prompt is."""

    PENDING = "pending"
    DONE = "done"  # all n outputs stored and settled
    DEAD = "dead"  # given up, with a reason
    CANCELLED = "cancelled"


class Safety(StrEnum):
    """Where one output is on its way through the classifier."""

    WAITING = "waiting"
    SCORED = "scored"
    UNSCORED = "unscored"  # scoring it failed alone three times; flagged, never clean
    NONE = "none"  # the job asked for no classifier


DTYPES = ("fp32", "bf16", "int8")
"""What a model's weights and products can be computed in."""
DTYPE_CHOICES = "auto, fp32, bf16 or int8"
TOO_LONG_CHOICES = ("refuse", "truncate-left", "truncate-right", "shorten")
"""What becomes of a prompt that does not fit the model's window together with its text."""
BAD_WORDS_MATCHES = ("word", "substring")
"""Bad words are banned as whole words, or inside longer ones too."""
DEVICE_CHOICES = "auto, cpu, cuda or cuda:N"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How one prompt is sampled. Every field has its effect in the worker's engine."""

    n: int = 1  # outputs for the prompt
    max_new_tokens: int = 64
    min_new_tokens: int = 0  # no end of text, no stop string before this many
    do_sample: bool = True
    temperature: float = 1.0  # 0 = greedy
    top_k: int = 50  # 0 = off
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0  # over prompt and text, as transformers does
    presence_penalty: float = 0.0  # over the text only, OpenAI's formula
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0  # over prompt and text, as transformers does
    bad_words: tuple[str, ...] = ()
    bad_words_match: str = "word"  # of BAD_WORDS_MATCHES
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, what is added to its logit)
    stop: tuple[str, ...] = ()  # cut from the text
    seed: int | None = None  # the row's own; the job's seed lies in the job
    on_too_long: str = "refuse"  # of TOO_LONG_CHOICES
    logprobs: int = 0  # keep this many alternatives for each token; 0 = off

    @property
    def greedy(self) -> bool:
        return not self.do_sample or self.temperature == 0

    def to_dict(self) -> dict[str, Any]:
        """Every field under its name, JSON-ready: what an output row keeps of what made it."""
        values = asdict(self)
        values["logit_bias"] = {str(token): bias for token, bias in self.logit_bias}
        return values | {"bad_words": list(self.bad_words), "stop": list(self.stop)}


def merge(base: SamplingSettings, row: Mapping[str, Any]) -> SamplingSettings:
    """`base` with a row's own values (as `contract.sampling.read_settings` gives them) laid over it.

    Raises:
        SettingsError: where the values do not go together.
    """
    merged = SamplingSettings(**({f.name: getattr(base, f.name) for f in fields(base)} | dict(row)))
    problems = list(contradictions(merged))
    if problems:
        raise SettingsError(problems)
    return merged


def contradictions(settings: SamplingSettings) -> list[Problem]:
    """What in `settings` cannot hold together."""
    problems = []
    if settings.n > 1 and settings.greedy:
        problems.append(Problem("n", f"is {settings.n}, but greedy decoding makes the same text every time; use n 1"))
    if settings.min_new_tokens > settings.max_new_tokens:
        low, high = settings.min_new_tokens, settings.max_new_tokens
        problems.append(Problem("min_new_tokens", f"is {low}, more than max_new_tokens {high}"))
    return problems


Messages = list[dict[str, str]]
"""A conversation: the `role` and the `content` of each message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt as the producer hands it to SQL."""

    position: int  # 0-based place among the job's prompts
    prompt: str  # of messages: they as one text
    messages: Messages | None = None  # from which the model's chat template makes the prompt
    n: int  # outputs it shall have
    custom_id: str | None = None
    settings: dict[str, Any] | None = None  # the row's own, by canonical name; None = the job's
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One submitted prompt file with its settings."""

    name: str
    fingerprint: str  # of the file's bytes and the settings: the same again is the same job
    model: str  # "demo", a Hub id, or an absolute path
    safety: str  # a classifier's name, an absolute path, or "none"
    score_by: ScoreBy = ScoreBy.WINDOW
    seed: int
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    thresholds: dict[str, float] = field(default_factory=dict)
    blocklist: tuple[str, ...] = ()
    on_flag: str = "keep"
    device: str = "auto"  # asked for; "auto" = any worker's
    dtype: str = "auto"
    batch_size: int = 256
    owner: str | None = None  # the installation whose stack may end it where it cannot load the model; None = none may


def room_for_text(window: int, prompt_tokens: int) -> int:
    """How many tokens a text may have behind a prompt, by the positions that a model has: the last token takes none."""
    return window + 1 - prompt_tokens


def output_seed(job_seed: int, row_seed: int | None, row_key: str | int, sample_index: int) -> int:
    """The seed of one output, below 2**53.

    Args:
        job_seed: the job's seed; unused where the row has its own.
        row_seed: the row's seed, if it has one.
        row_key: the row's custom_id (text) or its position (a number).
        sample_index: 0-based among the prompt's n outputs.

    BLAKE2b (RFC 7693) over an unambiguous encoding; a number and a text of the same digits differ. Python's `ascii`,
    not `repr`: what that escapes of a text changes with Unicode's tables, from one Python to the next.
    """
    parts = ("row", row_seed) if row_seed is not None else ("job", job_seed, type(row_key).__name__, row_key)
    message = ascii((*parts, sample_index)).encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big") % SEED_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made an output, beside its settings and its seed."""

    model: str
    revision: str  # hash of the model's weights, configuration and tokenizer
    engine: str  # name and version of the engine
    torch: str
    device: str  # "cpu", "cuda:NVIDIA H200", …
    isa: str  # instruction set the CPU kernels chose, "" on a GPU
    dtype: str
    threads: int = 0  # that shared each step; 0 = not recorded, as in what earlier versions made, and so below
    processor: str = ""  # name, family, model and stepping
    onednn: str = ""  # version of the library that multiplies on a CPU
    variables: str = ""  # environment variables that choose kernels, as NAME=VALUE, sorted
    numerics: str = ""  # digest of what the engine computes for fixed requests: alike = the same texts


PROVENANCE_FIELDS = tuple(field.name for field in fields(Provenance))

ONE_BY_ONE = "inkmill-fallback 3"
IN_GROUPS = "inkmill-fallback 3 in groups of 16"
"""Names of the engines for models that have no slots."""

NOT_BUILT_IN = "that a text comes out the same in any company was tried when the model was loaded, and is not built in"
"""What an engine that writes in groups does not promise."""


def is_written_in_groups(engine: str | None) -> bool:
    """Whether an engine of that name, of this version or another, writes texts in groups."""
    return " in groups of " in (engine or "")


def manner_of_writing(engine: str | None, why: str) -> str:
    """How an engine writes that has no slots, why, and what it does not promise; for people."""
    if is_written_in_groups(engine):
        return f"in groups of texts, because {why}; {NOT_BUILT_IN}"
    return f"one text at a time, because {why}"
