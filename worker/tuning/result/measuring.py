"""What a model is worth before and after: its perplexity on the validation part, and what it writes after prompts.

Always in float32, whatever training computes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from contract.tunings.prepared_corpus import Part, PreparedCorpus
from worker.evaluation.perplexity import evaluate
from worker.tuning.base_model import BaseModel
from worker.tuning.callbacks import finite
from worker.tuning.process.events import Events
from worker.tuning.samples import LONGEST_PROMPT, PROMPT_TOKENS, draw
from worker.tuning.settled import Settled

MEASURED_TOKENS = 100_000
"""Of the validation part, at most: half an hour of GPT-2 on a CPU would tell no more."""
SAMPLES = 2
SAMPLE_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """What samples go on from."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One of the two sides of a comparison."""

    perplexity: float | None  # None where there is no validation part, or none that a number holds
    tokens: int  # that it was measured on
    samples: list[dict[str, str]]  # prompt and text

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values)


def measure(
    network: Any, base: BaseModel, corpus: PreparedCorpus, prompts: Sequence[Prompt], settled: Settled, events: Events
) -> Measured:
    """Of the base, or of the model that was made of it."""
    tokens = corpus.validation.tokens[:MEASURED_TOKENS]
    found = evaluate(network, tokens, base.positions, events.alive).perplexity if len(tokens) > 1 else None
    with events.busy():
        samples = sampled(network, base, corpus, prompts, settled.order.seed)
    return Measured(perplexity=None if found is None else finite(found), tokens=len(tokens), samples=samples)


def sampled(
    network: Any, base: BaseModel, corpus: PreparedCorpus, prompts: Sequence[Prompt], seed: int
) -> list[dict[str, str]]:
    """One text after each prompt; the same random numbers every time, so that only the weights differ."""
    written = (
        draw(
            network, prompt.tokens, count=1, length=SAMPLE_LENGTH, end_of_text=corpus.end_of_text,
            positions=base.positions, seed=seed,
        )[0]
        for prompt in prompts
    )  # fmt: skip
    return [
        {"prompt": prompt.text, "text": base.tokenizer.decode(text)}
        for prompt, text in zip(prompts, written, strict=True)
    ]


def fixed_prompts(settled: Settled, base: BaseModel, corpus: PreparedCorpus) -> list[Prompt]:
    """Those that were given; or the beginning of a text, and that of a document held back."""
    longest = max(1, min(LONGEST_PROMPT, base.positions // 2))
    given = settled.order.sample_prompts
    if given is not None:
        tokens = [base.tokenizer(text)["input_ids"] or [corpus.end_of_text] for text in given]
        return [Prompt(text, tuple(ids[-longest:])) for text, ids in zip(given, tokens, strict=True)]
    beginnings = [(corpus.end_of_text,), *_beginnings(corpus.validation, longest), *_beginnings(corpus.train, longest)]
    kept = [tokens for tokens in dict.fromkeys(beginnings) if tokens][:SAMPLES]
    return [Prompt(_text(base, tokens, corpus.end_of_text), tokens) for tokens in kept]


def _text(base: BaseModel, tokens: tuple[int, ...], end_of_text: int) -> str:
    return "" if tokens == (end_of_text,) else str(base.tokenizer.decode(tokens))


def _beginnings(part: Part, longest: int) -> list[tuple[int, ...]]:
    """How the first documents begin: with their prompt where they have one."""
    starts = [*part.documents[: SAMPLES + 1, 0].tolist(), len(part.tokens)]
    return [
        tuple(part.tokens[start : _prompt_end(part, start, end)][-longest:].tolist()) for start, end in pairwise(starts)
    ]


def _prompt_end(part: Part, start: int, end: int) -> int:
    """Where what is only read ends; else some tokens, but not the whole document."""
    if part.loss is not None and not part.loss[start]:
        answered = np.flatnonzero(part.loss[start:end])
        return start + int(answered[0]) if len(answered) else end
    return start + min(PROMPT_TOKENS, (end - start) // 2)
