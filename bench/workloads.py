"""What the engines are given to write: prompts as token ids, how long each text has to become, how it is sampled.

The same numbers on every machine. No engine, no clock and no text is known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

MIN_PROMPT_TOKENS, MAX_PROMPT_TOKENS = 16, 128  # tokens
MIN_TEXT_TOKENS, MAX_TEXT_TOKENS = 8, 256  # tokens
SAMPLING = {"temperature": 0.9, "top_k": 50, "top_p": 0.95}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a model makes of a workload. A written token passes all blocks and the head, a prompt's only the blocks."""

    first_token: int  # the ids below are special
    tokens: int  # the size of the vocabulary
    flop_per_token: float  # floating-point operations of the matrix products
    flop_per_prompt_token: float


GPT2 = Scale(first_token=0, tokens=50_257, flop_per_token=0.25e9, flop_per_prompt_token=0.17e9)
SMOLLM2 = Scale(first_token=17, tokens=49_152, flop_per_token=0.269e9, flop_per_prompt_token=0.212e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Prompts, and for each the number of tokens that are written: no text ends before."""

    name: str
    prompts: tuple[tuple[int, ...], ...]  # token ids
    lengths: tuple[int, ...]  # new tokens, one number a prompt
    scale: Scale = GPT2

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def tokens(self) -> int:
        """Tokens that are written."""
        return sum(self.lengths)

    @property
    def flop(self) -> float:
        """Floating-point operations of the matrix products."""
        return self.tokens * self.scale.flop_per_token + self.prompt_tokens * self.scale.flop_per_prompt_token

    def cut(self, prompts: int | None = None, length: int = MAX_TEXT_TOKENS) -> Workload:
        """The first `prompts` of it, with no text over `length` tokens."""
        kept = tuple(min(asked, length) for asked in self.lengths[:prompts])
        return replace(self, prompts=self.prompts[:prompts], lengths=kept)

    def for_scale(self, scale: Scale) -> Workload:
        """The same with ids that a model has."""
        own = scale.tokens - scale.first_token
        prompts = tuple(tuple(scale.first_token + token % own for token in prompt) for prompt in self.prompts)
        return replace(self, prompts=prompts, scale=scale)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "prompts": self.prompts, "lengths": self.lengths}


def workload(name: str) -> Workload:
    """`w1`: 128 prompts, 64 tokens each. `w2`: the lengths of real jobs. `w3`: those of a night, 1,024 prompts."""
    count = 1024 if name == "w3" else 128
    lengths = [64] * count if name == "w1" else _mixed_lengths(count)
    return Workload(name=name, prompts=tuple(_prompts(count)), lengths=tuple(lengths))


def night(count: int) -> Workload:
    """So many prompts with the lengths of real jobs."""
    return Workload(name="night", prompts=tuple(_prompts(count)), lengths=tuple(_mixed_lengths(count)))


WORKLOADS = ("w1", "w2", "w3")


def _prompts(count: int) -> Iterable[tuple[int, ...]]:
    import numpy as np

    from bench.random_gpt2 import VOCABULARY, first_word

    random, first = np.random.default_rng(0), first_word()
    for length in random.integers(MIN_PROMPT_TOKENS, MAX_PROMPT_TOKENS + 1, count):
        # Of the ids that are words, so that an engine which is given text sees the same ids.
        yield tuple(random.integers(first, VOCABULARY - 1, length).tolist())


def _mixed_lengths(count: int) -> list[int]:
    """Log-normal: half of the texts have under 55 tokens, one in twenty over 173."""
    import numpy as np

    lengths = np.round(np.exp(np.random.default_rng(1).normal(4.0, 0.7, count)))
    return [int(length) for length in np.clip(lengths, MIN_TEXT_TOKENS, MAX_TEXT_TOKENS)]
