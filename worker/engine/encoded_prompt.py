"""A prompt and its settings as a model reads them: worked out once a prompt, and shared by all of its samples.

Tokenising takes a second a megabyte and is no part of a step, which other sequences wait for. Slots are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from contract.failures import FailureCode
from contract.spec import SamplingSettings, room_for_text
from worker.engine.sampling.bad_words import BadWords
from worker.engine.sampling.state import TokenRules
from worker.engine.tokenizer import Vocabulary

Alive = Callable[[], object]
_WAYS_OUT = {
    "refuse": "shorten the prompt or lower max_new_tokens",
    "shorten": "shorten the prompt, which leaves no room for a text",
}
"""What a user may do about a prompt that does not fit, by the `on_too_long` that did not help."""


class Rejected(Exception):
    """The request can never be served. The message is for the user."""

    def __init__(self, message: str, code: FailureCode) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What a model can take."""

    tokens: int  # the size of its vocabulary
    positions: int | None  # None = any number

    def room(self, prompt_tokens: int) -> int | None:
        """How many tokens a text may have behind a prompt; None = any number."""
        return None if self.positions is None else room_for_text(self.positions, prompt_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """A prompt's tokens, and what its settings say of tokens and texts."""

    tokens: list[int]
    rules: TokenRules
    stops: tuple[bytes, ...]
    stop_tokens: frozenset[int]  # special tokens that end a text and add nothing to it: stop strings, a turn's end
    source: tuple[object, ...]  # the settings that the rules and the stops were made from
    settings: SamplingSettings  # as asked for, but for what `on_too_long` lowered
    cut: int = 0  # tokens of the prompt that `on_too_long` left out
    shortened: bool = False  # whether it lowered max_new_tokens

    @property
    def fitted(self) -> dict[str, int] | None:
        """What was really used, JSON-ready, where `on_too_long` had something to do."""
        if not self.cut and not self.shortened:
            return None
        used = {"prompt_tokens": len(self.tokens), "cut_tokens": self.cut}
        return used | {"max_new_tokens": self.settings.max_new_tokens}


def read(
    prompt: str,
    settings: SamplingSettings,
    vocabulary: Vocabulary,
    limits: ModelLimits,
    earlier: EncodedPrompt | None = None,
    alive: Alive = lambda: None,
    *,
    chat: bool = False,
) -> EncodedPrompt:
    """Tokenise a prompt and what its settings say in words, and check them against the model.

    Args:
        earlier: where these settings are the same, its rules are shared.
        alive: called after each text, of which there may be thousands.
        chat: the model's chat template made the prompt: nothing can be left out of it, and the text ends with the turn.

    Raises:
        Rejected: the request can never be served by this model.
    """
    if chat and settings.on_too_long.startswith("truncate"):
        settings = replace(settings, on_too_long="shorten")
    source = (settings.bad_words, settings.bad_words_match, settings.logit_bias, settings.stop, chat)
    try:
        if earlier is None or earlier.source != source:
            ends = vocabulary.turn_ends if chat else frozenset[int]()
            rules = _rules(settings, vocabulary, limits, ends, alive)
            stops, special = _stops(settings), vocabulary.special(settings.stop) | ends
            earlier = EncodedPrompt([], rules, stops, special, source, settings)
    except ValueError as error:  # a UnicodeEncodeError of a stop string is one, too
        raise Rejected(str(error), FailureCode.BAD_SETTINGS) from error
    tokens = _tokens(prompt, settings, vocabulary, limits, alive, chat=chat)
    encoded = replace(earlier, tokens=tokens, settings=settings, cut=0, shortened=False)
    return _fitting(encoded, len(vocabulary.prefix), limits)


def _tokens(
    prompt: str, settings: SamplingSettings, vocabulary: Vocabulary, limits: ModelLimits, alive: Alive, *, chat: bool
) -> list[int]:
    if settings.on_too_long == "refuse":  # before it is tokenised: that takes a second a megabyte
        _check_length(vocabulary.fewest_tokens(prompt), settings, limits, at_least="at least ")
    try:
        tokens = vocabulary.encode(prompt, chat=chat)
    except ValueError as error:
        raise Rejected(str(error), FailureCode.BAD_PROMPT) from error
    finally:
        alive()
    _check_known(tokens, limits)
    return tokens


def _fitting(encoded: EncodedPrompt, prefix: int, limits: ModelLimits) -> EncodedPrompt:
    """A prompt and its text made to fit the model's window, as `on_too_long` says.

    Args:
        prefix: tokens before every prompt, which stay whatever is cut.

    Raises:
        Rejected: they do not fit even so.
    """
    settings, tokens = encoded.settings, encoded.tokens
    room = limits.room(len(tokens))
    if room is None or room >= settings.max_new_tokens:
        return encoded
    if settings.on_too_long == "shorten" and room >= 1:
        fewest = min(settings.min_new_tokens, room)
        return replace(encoded, settings=replace(settings, max_new_tokens=room, min_new_tokens=fewest), shortened=True)
    cut = settings.max_new_tokens - room
    if settings.on_too_long.startswith("truncate") and cut < len(tokens) - prefix:
        kept = tokens[prefix + cut :] if settings.on_too_long == "truncate-left" else tokens[prefix:-cut]
        return replace(encoded, tokens=tokens[:prefix] + kept, cut=cut)
    raise _too_long(len(tokens), settings, limits)


def _rules(
    settings: SamplingSettings, vocabulary: Vocabulary, limits: ModelLimits, ends: frozenset[int], alive: Alive
) -> TokenRules:
    unknown = [token for token, _ in settings.logit_bias if not 0 <= token < limits.tokens]
    if unknown:
        raise Rejected(
            f"logit_bias has the token id {unknown[0]}, but the model's ids go from 0 to {limits.tokens - 1}",
            FailureCode.BAD_SETTINGS,
        )
    return TokenRules(_bad_words(settings, vocabulary, alive), settings.logit_bias, sorted(vocabulary.eos | ends))


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
            f"{limits.tokens - 1}; the model's folder holds a tokenizer that does not fit it",
            FailureCode.WRONG_TOKENIZER,
        )


def _check_length(prompt_tokens: int, settings: SamplingSettings, limits: ModelLimits, at_least: str = "") -> None:
    room = limits.room(prompt_tokens)
    if room is not None and room < settings.max_new_tokens:
        raise _too_long(prompt_tokens, settings, limits, at_least)


def _too_long(prompt_tokens: int, settings: SamplingSettings, limits: ModelLimits, at_least: str = "") -> Rejected:
    total = prompt_tokens + settings.max_new_tokens
    tokens = "token" if prompt_tokens == 1 else "tokens"
    ways_out = _WAYS_OUT.get(settings.on_too_long, "lower max_new_tokens, which leaves no room for a prompt")
    return Rejected(
        f"the prompt has {at_least}{prompt_tokens} {tokens} and max_new_tokens is {settings.max_new_tokens}: "
        f"together {at_least}{total}, more than the {(limits.positions or 0) + 1} for which the model's "
        f"{limits.positions} positions are enough; {ways_out}",
        FailureCode.TOO_LONG,
    )
