"""What must be right about a request before it gets a slot, and what its sequence starts with.

Shared by both engines. Slots, caches and forward passes are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.spec import SamplingSettings
from worker.engine.sampler import Choice
from worker.engine.sampling_state import SamplingState
from worker.engine.sequence import Request, Sequence
from worker.engine.vocabulary import Vocabulary

SEEDS = 2**64


class Rejected(Exception):
    """The request can never be served. The message is for the user."""


@dataclass(slots=True)
class Row:
    """A sequence that is being written, and what sampling it needs."""

    prompt: list[int]  # token ids
    sequence: Sequence
    state: SamplingState
    computed: int = 0  # positions whose keys and values are in the cache

    def entry(self, choice: Choice, vocabulary: Vocabulary) -> dict[str, Any] | None:
        """The choice's line of `Completion.logprobs`, where the request asked for those."""
        if not choice.top:
            return None
        top = {vocabulary.shown(token): logprob for token, logprob in choice.top}
        return {"token": vocabulary.shown(choice.token), "logprob": choice.logprob, "top": top}


def admit(request: Request, vocabulary: Vocabulary, model_tokens: int, positions: int | None) -> Row:
    """Tokenise a request and check it against the model.

    Args:
        model_tokens: how many token ids the model knows.
        positions: how many positions it has; None where it has no limit.

    Raises:
        Rejected: the request can never be served by this model.
    """
    settings = request.settings
    if not 0 <= request.seed < SEEDS:
        raise Rejected(f"the seed is {request.seed}; it must be from 0 to 2**64 - 1")
    try:
        prompt = vocabulary.encode(request.prompt)
        banned = sorted({tokens for word in settings.bad_words for tokens in vocabulary.banned(word)})
        sequence = Sequence(request, len(prompt))
    except ValueError as error:  # a UnicodeEncodeError of a stop string is one, too
        raise Rejected(str(error)) from error
    _check_tokens(prompt, banned, settings, model_tokens)
    _check_length(len(prompt), settings.max_new_tokens, positions)
    state = SamplingState(settings, request.seed, prompt, banned, sorted(vocabulary.eos))
    return Row(prompt, sequence, state)


def _check_tokens(
    prompt: list[int], banned: list[tuple[int, ...]], settings: SamplingSettings, model_tokens: int
) -> None:
    biased = [token for token, _ in settings.logit_bias if not 0 <= token < model_tokens]
    if biased:
        raise Rejected(f"logit_bias has the token id {biased[0]}, but the model's ids go from 0 to {model_tokens - 1}")
    unknown = [token for tokens in (prompt, *banned) for token in tokens if not 0 <= token < model_tokens]
    if unknown:
        raise Rejected(
            f"the tokenizer gives the token id {unknown[0]}, but the model's ids go from 0 to "
            f"{model_tokens - 1}; the model's folder holds a tokenizer that does not fit it"
        )


def _check_length(prompt_tokens: int, max_new_tokens: int, positions: int | None) -> None:
    total = prompt_tokens + max_new_tokens
    if positions is not None and total > positions:
        raise Rejected(
            f"the prompt has {prompt_tokens} tokens and max_new_tokens is {max_new_tokens}: together "
            f"{total}, more than the model's {positions} positions; "
            "shorten the prompt or lower max_new_tokens"
        )


def described(error: Exception) -> str:
    """An unexpected error as a fault's reason."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
