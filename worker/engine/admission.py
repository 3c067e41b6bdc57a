"""What must be right about a request before it gets a slot, and what its sequence starts with.

Shared by both engines. Slots, caches and forward passes are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from contract.failures import FailureCode
from worker.engine.encoded_prompt import ModelLimits, Rejected, read
from worker.engine.memory_blame import out_of_memory
from worker.engine.sampling.sampler import Choice
from worker.engine.sampling.state import SamplingState
from worker.engine.sequence import Request, Sequence
from worker.engine.tokenizer import Vocabulary

SEEDS = 2**64


@dataclass(slots=True)
class RunningSequence:
    """A sequence that is being written, and what sampling it needs."""

    prompt: list[int]  # token ids
    sequence: Sequence
    state: SamplingState
    stop_tokens: frozenset[int] = frozenset()
    computed: int = 0  # positions whose keys and values are in the cache

    @property
    def longest(self) -> int:
        """How many positions it comes to at most: the last token needs none."""
        return len(self.prompt) + self.sequence.request.settings.max_new_tokens - 1

    def is_ended_by(self, token: int, vocabulary: Vocabulary) -> bool:
        """Whether the next token ends the text without adding to it: an end of text, or a special one to stop at."""
        long_enough = len(self.sequence.tokens) + 1 >= self.sequence.request.settings.min_new_tokens
        return token in vocabulary.eos or (long_enough and token in self.stop_tokens)

    def append(self, choice: Choice, vocabulary: Vocabulary) -> None:
        """Take the next token; it may end the text."""
        sequence, entry = self.sequence, self.entry(choice, vocabulary)
        if self.is_ended_by(choice.token, vocabulary):
            sequence.end(choice.token, choice.logprob, entry)
        else:
            sequence.append(choice.token, choice.logprob, entry)
        self.state.append(choice.token)

    def entry(self, choice: Choice, vocabulary: Vocabulary) -> dict[str, Any] | None:
        """The choice's entry in `Completion.logprobs`, where the request asked for those."""
        if not choice.top:
            return None
        top = {vocabulary.shown(token): logprob for token, logprob in choice.top}
        return {"token": vocabulary.shown(choice.token), "logprob": choice.logprob, "top": top}


def admit(request: Request, vocabulary: Vocabulary, limits: ModelLimits) -> RunningSequence:
    """Begin a request's text. A prompt that was not read yet is read now.

    Raises:
        Rejected: the request can never be served by this model.
    """
    if not 0 <= request.seed < SEEDS:
        raise Rejected(f"the seed is {request.seed}; it must be from 0 to 2**64 - 1", FailureCode.BAD_SETTINGS)
    encoded = request.encoded or read(request.prompt, request.settings, vocabulary, limits, chat=request.chat)
    request = replace(request, settings=encoded.settings, encoded=encoded)
    sequence = Sequence(request, len(encoded.tokens), encoded.stops, vocabulary.begin_text(encoded.tokens))
    state = SamplingState(request.settings, request.seed, encoded.tokens, encoded.rules)
    return RunningSequence(encoded.tokens, sequence, state, encoded.stop_tokens)


def code_of(error: Exception) -> FailureCode:
    """The code of a fault that an unexpected error makes."""
    return FailureCode.OUT_OF_MEMORY if out_of_memory(error) else FailureCode.ENGINE_ERROR


def describe(error: Exception) -> str:
    """An unexpected error as a fault's reason."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
