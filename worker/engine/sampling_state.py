"""What sampling one sequence has to remember, and what its settings do to its logits.

Batches, widths and random numbers are the sampler's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contract.spec import SamplingSettings
from worker.engine import processors
from worker.engine.processors import Logits, Tokens


class SamplingState:
    """One sequence's settings, seed and tokens."""

    def __init__(
        self,
        settings: SamplingSettings,
        seed: int,
        prompt: Sequence[int],
        bad_words: Sequence[tuple[int, ...]] = (),
        eos: Sequence[int] = (),
    ) -> None:
        """`bad_words`: token sequences never to complete. `eos`: the end-of-text tokens."""
        self.settings, self.seed = settings, seed
        self._bad_words, self._eos = bad_words, eos
        self._prompt_tokens = self.length = len(prompt)
        self._tokens = np.zeros(len(prompt) + settings.max_new_tokens, dtype=np.int64)
        self._tokens[: self.length] = prompt

    @property
    def step(self) -> int:
        """How many tokens were sampled: the counter of the next random number."""
        return self.length - self._prompt_tokens

    @property
    def context(self) -> Tokens:
        """[length], the prompt's tokens and then the text's."""
        return self._tokens[: self.length]

    def append(self, token: int) -> None:
        self._tokens[self.length] = token
        self.length += 1

    def process(self, logits: Logits) -> None:
        """Change one row's raw logits, in place: bias and bans, then penalties.

        Raises:
            ValueError: the logits are no numbers, or nothing is left to sample.
        """
        if not np.isfinite(logits.max()):
            raise ValueError(f"the model's logits are not finite numbers at token {self.step + 1}")
        self._bias_and_ban(logits)
        self._penalise(logits)
        if logits.max() == -np.inf:
            raise ValueError(f"the settings ban every token there is at token {self.step + 1}")

    def _bias_and_ban(self, logits: Logits) -> None:
        settings = self.settings
        processors.add_bias(logits, settings.logit_bias)
        if self._bad_words:
            processors.ban_bad_words(logits, self.context, self._bad_words)
        if self.step < settings.min_new_tokens:
            processors.ban(logits, self._eos)
        if settings.no_repeat_ngram_size:
            processors.ban_repeated_ngrams(logits, self.context, settings.no_repeat_ngram_size)

    def _penalise(self, logits: Logits) -> None:
        settings = self.settings
        if settings.repetition_penalty != 1:
            processors.penalise_repetition(logits, self.context, settings.repetition_penalty)
        if settings.presence_penalty or settings.frequency_penalty:
            text = self._tokens[self._prompt_tokens : self.length]
            processors.penalise_presence(logits, text, settings.presence_penalty, settings.frequency_penalty)
