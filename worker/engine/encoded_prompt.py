"""A prompt and its settings as a model reads them: worked out once a prompt, and shared by all of its samples.

Tokenising takes a second a megabyte and is no part of a step, which other sequences wait for. Slots are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contract.spec import SamplingSettings
from worker.engine.sampling.bad_words import BadWords
from worker.engine.sampling.state import TokenRules
from worker.engine.tokenizer import Vocabulary

Alive = Callable[[], object]


class Rejected(Exception):
    """The request can never be served. The message is for the user."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a model takes."""

    tokens: int  # its ids lie below
    positions: int | None  # None = it has no limit


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a model makes of a prompt and its settings."""

    prompt: list[int]  # token ids
    rules: TokenRules
    stops: tuple[bytes, ...]
    said: tuple[object, ...]  # of the settings: what the rules and the stops were made of


def read(
    prompt: str,
    settings: SamplingSettings,
    vocabulary: Vocabulary,
    model: Bounds,
    like: Reading | None = None,
    alive: Alive = lambda: None,
) -> Reading:
    """Tokenise a prompt and what its settings say in words, and check them against the model.

    Args:
        like: an earlier reading; where the settings say the same, its rules are shared.
        alive: called after each text, of which there may be thousands.

    Raises:
        Rejected: the request can never be served by this model.
    """
    said = (settings.bad_words, settings.logit_bias, settings.stop)
    try:
        if like is None or like.said != said:
            like = Reading([], _rules(settings, vocabulary, model, alive), _stops(settings), said)
        _check_length(vocabulary.fewest_tokens(prompt), settings, model, at_least="at least ")
        tokens = vocabulary.encode(prompt)
    except ValueError as error:  # a UnicodeEncodeError of a stop string is one, too
        raise Rejected(str(error)) from error
    finally:
        alive()
    _check_known(tokens, model)
    _check_length(len(tokens), settings, model)
    return Reading(tokens, like.rules, like.stops, said)


def _rules(settings: SamplingSettings, vocabulary: Vocabulary, model: Bounds, alive: Alive) -> TokenRules:
    biased = [token for token, _ in settings.logit_bias if not 0 <= token < model.tokens]
    if biased:
        raise Rejected(f"logit_bias has the token id {biased[0]}, but the model's ids go from 0 to {model.tokens - 1}")
    banned: set[tuple[int, ...]] = set()
    for word in settings.bad_words:
        if model.positions is None or vocabulary.fewest_tokens(word) <= model.positions:
            found = vocabulary.banned(word)
            # One that is longer than any text of this model is never completed.
            banned.update(tokens for tokens in found if model.positions is None or len(tokens) <= model.positions)
            alive()
    for tokens in banned:
        _check_known(tokens, model)
    return TokenRules(BadWords(sorted(banned)), settings.logit_bias, sorted(vocabulary.eos))


def _stops(settings: SamplingSettings) -> tuple[bytes, ...]:
    return tuple(stop.encode("utf-8") for stop in settings.stop)


def _check_known(tokens: list[int] | tuple[int, ...], model: Bounds) -> None:
    unknown = [token for token in tokens if not 0 <= token < model.tokens]
    if unknown:
        raise Rejected(
            f"the tokenizer gives the token id {unknown[0]}, but the model's ids go from 0 to "
            f"{model.tokens - 1}; the model's folder holds a tokenizer that does not fit it"
        )


def _check_length(prompt_tokens: int, settings: SamplingSettings, model: Bounds, at_least: str = "") -> None:
    total = prompt_tokens + settings.max_new_tokens
    if model.positions is not None and total > model.positions:
        raise Rejected(
            f"the prompt has {at_least}{prompt_tokens} tokens and max_new_tokens is {settings.max_new_tokens}: "
            f"together {at_least}{total}, more than the model's {model.positions} positions; "
            "shorten the prompt or lower max_new_tokens"
        )
