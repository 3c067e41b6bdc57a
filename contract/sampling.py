"""Reading sampling settings that a user wrote: names and their aliases, types, ranges, near misses.

The one table of what may be said; the command line, every prompt-file form and docs/settings.md draw on it.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from common.near_misses import did_you_mean
from contract.errors import Problem, SettingsError
from contract.spec import BAD_WORDS_MATCHES, SEED_LIMIT, TOO_LONG_CHOICES

Reader = Callable[[object], Any]

QUOTED_CHARACTERS = 40
"""How much of a bad value its error quotes."""
QUOTED_BITS = 1024
TYPED_TEXTS = ("stop", "bad_words")
"""Settings of texts, in which `typed_text` reads escapes."""
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}")
"""A token id as JSON keys spell it: one spelling for each number, so that no two keys mean the same token."""


class _BadValue(ValueError):
    """A value that cannot be used; the message completes the sentence 'FIELD …'."""


class _ShortRepr(reprlib.Repr):
    """Quotes any value cheaply, however long or deep it is."""

    def repr_int(self, number: int, level: int) -> str:
        if number.bit_length() > QUOTED_BITS:  # Python itself spells out no number of over 4,300 digits
            return f"a number of over {QUOTED_BITS} bits"
        return super().repr_int(number, level)


_short_repr = _ShortRepr()
_short_repr.maxstring = _short_repr.maxother = _short_repr.maxlong = QUOTED_CHARACTERS


def _quoted(value: object) -> str:
    text = _short_repr.repr(value)
    return text if len(text) <= QUOTED_CHARACTERS else text[: QUOTED_CHARACTERS - 3] + "…"


def _integer(low: int, high: int) -> Reader:
    def read(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _BadValue(f"must be a whole number, not {_quoted(value)}")
        if not low <= value <= high:
            raise _BadValue(f"must be from {low} to {high}, not {_quoted(value)}")
        return value

    return read


def _number(low: float, high: float, *, above: bool = False) -> Reader:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise _BadValue(f"must be a number, not {_quoted(value)}")
        if value < low or value > high or (above and value == low):
            span = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            raise _BadValue(f"must be {span}, not {_quoted(value)}")
        return float(value)

    return read


def _is_text(text: str) -> bool:
    """Whether it can be stored: half a surrogate pair, as in a command's undecodable arguments, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _BadValue(f"must be true or false, not {_quoted(value)}")
    return value


def _strings(most: int) -> Reader:
    def read(value: object) -> tuple[str, ...]:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text for text in texts):
            raise _BadValue(f"must be a text or a list of texts, none of them empty, not {_quoted(value)}")
        if not all(_is_text(text) for text in texts):
            raise _BadValue(f"contains half a character (a lone surrogate), which is not valid text: {_quoted(value)}")
        if len(texts) > most:
            raise _BadValue(f"may hold at most {most} texts, not {len(texts)}")
        return tuple(texts)

    return read


def _choice(*choices: str) -> Reader:
    def read(value: object) -> str:
        if value not in choices:
            raise _BadValue(f"must be {' or '.join(choices)}, not {_quoted(value)}")
        return str(value)

    return read


def _bias(value: object) -> tuple[tuple[int, float], ...]:
    if not isinstance(value, Mapping):
        raise _BadValue(f"must be an object of token ids and numbers, not {_quoted(value)}")
    read_bias = _number(-100, 100)
    for token in value:
        if not isinstance(token, str) or not TOKEN_ID.fullmatch(token):
            raise _BadValue(f'has a key that is not a token id: {_quoted(token)}; write it as digits, such as "50256"')
    return tuple(sorted((int(token), read_bias(bias)) for token, bias in value.items()))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, other engines' names for it, and how its value is read."""

    name: str
    read: Reader
    help: str
    range: str  # what `read` takes, in words
    example: str  # as a flag takes it
    aliases: tuple[str, ...] = ()


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "n", _integer(1, 1000), "outputs for each prompt", "1 to 1000", "3", ("num_return_sequences", "nsamples")
        ),
        Setting(
            "max_new_tokens",
            _integer(1, 1024),
            "most tokens to write",
            "1 to 1024",
            "200",
            ("max_tokens", "max_completion_tokens", "length"),
        ),
        Setting("min_new_tokens", _integer(0, 1024), "fewest tokens to write", "0 to 1024", "20", ("min_tokens",)),
        Setting("do_sample", _flag, "sample (true) or decode greedily (false)", "true or false", ""),
        Setting("temperature", _number(0, 100), "higher = more surprising; 0 = greedy", "0 to 100", "0.8"),
        Setting("top_k", _integer(0, 1_000_000), "sample among the k likeliest tokens; 0 = off", "-1 to 1000000", "40"),
        Setting("top_p", _number(0, 1, above=True), "nucleus sampling; 1 = off", "above 0, to 1", "0.95"),
        Setting("min_p", _number(0, 1), "drop tokens below this share of the likeliest; 0 = off", "0 to 1", "0.05"),
        Setting("repetition_penalty", _number(0.01, 100), "over prompt and text; 1 = off", "0.01 to 100", "1.2"),
        Setting("presence_penalty", _number(-2, 2), "over the text; 0 = off", "-2 to 2", "0.5"),
        Setting("frequency_penalty", _number(-2, 2), "over the text; 0 = off", "-2 to 2", "0.5"),
        Setting(
            "no_repeat_ngram_size",
            _integer(0, 1024),
            "never write an n-gram of tokens twice; 0 = off",
            "0 to 1024",
            "3",
        ),
        Setting(
            "bad_words",
            _strings(1000),
            "words never to write, upper and lower case as given",
            "up to 1000 texts",
            "damn",
        ),
        Setting(
            "bad_words_match",
            _choice(*BAD_WORDS_MATCHES),
            "word: bad_words may be parts of longer words; substring: they may not",
            "word or substring",
            "substring",
        ),
        Setting(
            "logit_bias", _bias, "token id to number, added to its logit", "-100 to 100 a token", "'{\"198\": -100}'"
        ),
        Setting("stop", _strings(16), "texts to stop at; cut from the output", "up to 16 texts", "'\\n'"),
        Setting("seed", _integer(0, SEED_LIMIT - 1), "the row's own seed", "-1 to 9007199254740991", "42"),
        Setting(
            "on_too_long",
            _choice(*TOO_LONG_CHOICES),
            "refuse a prompt that does not fit the model's window with its text; cut the prompt at its beginning "
            "(truncate-left) or its end (truncate-right); or shorten: lower max_new_tokens",
            "refuse, truncate-left, truncate-right or shorten",
            "truncate-left",
        ),
        Setting("logprobs", _integer(0, 20), "alternatives to keep for each token; 0 = off", "0 to 20", "5"),
    )
}

OFF_ELSEWHERE: dict[str, Any] = {"top_k": 0, "seed": None}
"""Settings that other engines turn off by -1, and what says so here."""

CANONICAL: dict[str, str] = {
    spelling: setting.name for setting in SETTINGS.values() for spelling in (setting.name, *setting.aliases)
}
"""Every accepted spelling and the canonical name it stands for."""

MAX_LENGTH = "is not used here because it would count the prompt too; use max_new_tokens instead"


def unknown_setting(name: str, valid: Iterable[str]) -> Problem:
    """The problem of an unknown name, with the nearest valid one."""
    if name == "max_length":
        return Problem(name, MAX_LENGTH)
    hint = did_you_mean(name, valid, "valid names: " + ", ".join(SETTINGS))
    return Problem(name, f"is not a setting; {hint}")


def read_settings(raw: Mapping[str, object]) -> dict[str, Any]:
    """The settings a user wrote, by canonical name, checked one by one. A value of None counts as absent.

    Raises:
        SettingsError: naming every field that is unknown, set twice, of a wrong type or out of range.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for spelling, value in raw.items():
        name = CANONICAL.get(spelling)
        if name in OFF_ELSEWHERE and value == -1:
            value = OFF_ELSEWHERE[name]
        if value is None and name is not None:
            continue
        if name is None:
            problems.append(unknown_setting(spelling, CANONICAL))
        elif name in values:
            problems.append(Problem(spelling, f"sets {name} a second time"))
        else:
            try:
                values[name] = SETTINGS[name].read(value)
            except _BadValue as error:
                problems.append(Problem(spelling, str(error)))
    if problems:
        raise SettingsError(problems)
    return values


def json_ready(values: Mapping[str, Any]) -> dict[str, Any]:
    """The result of `read_settings`, in the shape of `SamplingSettings.to_dict`."""
    ready = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    if "logit_bias" in ready:
        ready["logit_bias"] = {str(token): bias for token, bias in values["logit_bias"]}
    return ready


def typed_text(text: str) -> str:
    """A stop string or a bad word as a command line or a cell has it, where no line end can be typed."""
    return re.sub(r"\\([ntr\\])", lambda escape: _ESCAPES[escape[1]], text)


def parse_cell(name: str, cell: str) -> object:
    """A CSV cell as the value that `read_settings` expects for `name`; what cannot be parsed stays text."""
    if name in TYPED_TEXTS and not cell.lstrip().startswith("["):
        return typed_text(cell)
    if name == "do_sample":
        cell = {
            "true": "true",
            "1": "true",
            "yes": "true",
            "false": "false",
            "0": "false",
            "no": "false",
        }.get(cell.strip().lower(), cell)
    try:
        value: object = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return value
