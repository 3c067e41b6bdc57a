"""A prompt and its settings as a model reads them: worked out once a prompt, and shared by all of its samples.

Tokenising takes a second a megabyte and is no part of a step, which other sequences wait for. Slots are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from contract.spec import SamplingSettings
from worker.engine.sampling.bad_words import BadWords
from worker.engine.sampling.state import TokenRules
from worker.engine.tokenizer import Vocabulary

Alive = Callable[[], object]


class Rejected(Exception):
    """The request can never be served. The message is for the user."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What a model can take."""

    tokens: int  # the size of its vocabulary
    positions: int | None  # None = any number


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """A prompt's tokens, and what its settings say of tokens and texts."""

    tokens: list[int]
    rules: TokenRules
    stops: tuple[bytes, ...]
    stop_tokens: frozenset[int]  # special tokens among the stop strings: they add nothing to a text
    source: tuple[object, ...]  # the settings that the rules and the stops were made from


def read(
    prompt: str,
    settings: SamplingSettings,
    vocabulary: Vocabulary,
    limits: ModelLimits,
    earlier: EncodedPrompt | None = None,
    alive: Alive = lambda: None,
) -> EncodedPrompt:
    """Tokenise a prompt and what its settings say in words, and check them against the model.

    Args:
        earlier: where these settings are the same, its rules are shared.
        alive: called after each text, of which there may be thousands.

    Raises:
        Rejected: the request can never be served by this model.
    """
    source = (settings.bad_words, settings.bad_words_match, settings.logit_bias, settings.stop)
    try:
        if earlier is None or earlier.source != source:
            rules = _rules(settings, vocabulary, limits, alive)
            earlier = EncodedPrompt([], rules, _stops(settings), vocabulary.special(settings.stop), source)
        _check_length(vocabulary.fewest_tokens(prompt), settings, limits, at_least="at least ")
        tokens = vocabulary.encode(prompt)
    except ValueError as error:  # a UnicodeEncodeError of a stop string is one, too
        raise Rejected(str(error)) from error
    finally:
        alive()
    _check_known(tokens, limits)
    _check_length(len(tokens), settings, limits)
    return replace(earlier, tokens=tokens)


def _rules(settings: SamplingSettings, vocabulary: Vocabulary, limits: ModelLimits, alive: Alive) -> TokenRules:
    unknown = [token for token, _ in settings.logit_bias if not 0 <= token < limits.tokens]
    if unknown:
        raise Rejected(
            f"logit_bias has the token id {unknown[0]}, but the model's ids go from 0 to {limits.tokens - 1}"
        )
    return TokenRules(_bad_words(settings, vocabulary, alive), settings.logit_bias, sorted(vocabulary.eos))


def _bad_words(settings: SamplingSettings, vocabulary: Vocabulary, alive: Alive) -> BadWords:
    if not settings.bad_words:
        return BadWords()
    return BadWords(
        settings.bad_words,
        vocabulary.pieces,
        whole=settings.bad_words_match == "word",
        stops=settings.stop,
        tokens=vocabulary.special(settings.bad_words) - vocabulary.eos,  # as in transformers, a text may always end
        alive=alive,
    )


def _stops(settings: SamplingSettings) -> tuple[bytes, ...]:
    return tuple(stop.encode("utf-8") for stop in settings.stop)


def _check_known(tokens: list[int], limits: ModelLimits) -> None:
    unknown = [token for token in tokens if not 0 <= token < limits.tokens]
    if unknown:
        raise Rejected(
            f"the tokenizer gives the token id {unknown[0]}, but the model's ids go from 0 to "
            f"{limits.tokens - 1}; the model's folder holds a tokenizer that does not fit it"
        )


def _check_length(prompt_tokens: int, settings: SamplingSettings, limits: ModelLimits, at_least: str = "") -> None:
    total = prompt_tokens + settings.max_new_tokens
    if limits.positions is not None and total > limits.positions + 1:  # the last token is never read
        tokens = "token" if prompt_tokens == 1 else "tokens"
        raise Rejected(
            f"the prompt has {at_least}{prompt_tokens} {tokens} and max_new_tokens is {settings.max_new_tokens}: "
            f"together {at_least}{total}, more than the {limits.positions + 1} for which the model's "
            f"{limits.positions} positions are enough; shorten the prompt or lower max_new_tokens"
        )
