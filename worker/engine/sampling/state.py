"""What sampling one sequence has to remember: its settings, its seed and its tokens, as compiled code reads them.

Batches, filters and random numbers are the sampler's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contract.spec import SamplingSettings
from worker.engine.sampling.bad_words import NO_TOKENS, BadWords, TextEnd, Tokens

RECORD = np.dtype(  # one sequence's settings
    [
        ("temperature", np.float64),
        ("top_p", np.float64),
        ("min_p", np.float64),
        ("repetition_penalty", np.float32),
        ("presence_penalty", np.float64),
        ("frequency_penalty", np.float64),
        ("top_k", np.int32),
        ("no_repeat_ngram_size", np.int32),
        ("prompt_tokens", np.int32),
        ("logprobs", np.int32),
        ("greedy", np.bool_),
    ]
)


class TokenRules:
    """What settings say of single tokens, and words never to write. Samples of the same settings share it."""

    def __init__(
        self,
        bad_words: BadWords | None = None,
        logit_bias: Sequence[tuple[int, float]] = (),
        eos: Sequence[int] = (),
    ) -> None:
        """`eos`: the end-of-text tokens."""
        self.bad_words = bad_words or BadWords()
        self.biased: Tokens = np.array([token for token, _ in logit_bias], np.int32)
        self.biases = np.array([amount for _, amount in logit_bias], np.float32)
        self.eos: Tokens = np.array(eos, np.int32)


class SamplingState:
    """One sequence's settings, seed and tokens."""

    def __init__(
        self, settings: SamplingSettings, seed: int, prompt: Sequence[int], rules: TokenRules | None = None
    ) -> None:
        """`rules`: those of the settings; needed where there are bad words, or an end of text."""
        rules = rules or TokenRules(logit_bias=settings.logit_bias)
        self.settings, self.seed = settings, seed
        self.length = self._prompt_tokens = len(prompt)
        self._tokens: Tokens = np.zeros(len(prompt) + settings.max_new_tokens, dtype=np.int32)
        self._tokens[: self.length] = prompt
        self.biased, self.biases = rules.biased, rules.biases
        self._end, self._eos = TextEnd(rules.bad_words), rules.eos
        self.record = self._record()
        self._looks_back = bool(
            settings.no_repeat_ngram_size
            or settings.repetition_penalty != 1
            or settings.presence_penalty
            or settings.frequency_penalty
        )

    @property
    def step(self) -> int:
        """How many tokens were sampled: the counter of the next random number."""
        return self.length - self._prompt_tokens

    @property
    def context(self) -> Tokens:
        """[length], the prompt's tokens and then the text's."""
        return self._tokens[: self.length]

    @property
    def context_for_penalties(self) -> Tokens:
        """The context, or nothing where the settings do not look at it."""
        return self.context if self._looks_back else NO_TOKENS

    @property
    def banned(self) -> Tokens:
        """The tokens that would write a bad word now, or end a text that is still too short."""
        writing = self._end.banned
        return np.concatenate([writing, self._eos]) if self.step < self.settings.min_new_tokens else writing

    def append(self, token: int) -> None:
        self._tokens[self.length] = token
        self.length += 1
        self._end.append(token)

    def _record(self) -> tuple[object, ...]:
        settings = self.settings
        return (
            settings.temperature,
            settings.top_p,
            settings.min_p,
            settings.repetition_penalty,
            settings.presence_penalty,
            settings.frequency_penalty,
            min(settings.top_k, np.iinfo(np.int32).max),
            settings.no_repeat_ngram_size,
            self._prompt_tokens,
            settings.logprobs,
            settings.greedy,
        )
