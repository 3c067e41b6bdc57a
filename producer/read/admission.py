"""Admission: the fields of one record become a prompt row, or a named problem.

Knows no format and no file; line numbers are kept only to say where a custom_id appeared first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from common.bounded_memo import BoundedMemo
from common.near_misses import nearest
from contract.errors import Problem, SettingsError
from contract.sampling import CANONICAL, read_settings, unknown_setting
from contract.spec import PromptRow, SamplingSettings, merge
from producer.first_lines import FirstLines
from producer.read.lines import NUL_CHARACTER

ROW_FIELDS = ("prompt", "custom_id", "metadata")
NAMES = (*ROW_FIELDS, *CANONICAL)
"""Every field that a row may have."""

MAX_CUSTOM_ID = 512  # characters
MAX_NAME = 64  # a longer name is not compared with the valid ones
KNOWN_NAMES = 4096  # of at most MAX_NAME characters each

_ABSENT = object()


class BadRow(ValueError):
    """A record that cannot be used. Several problems become one, named by the first one's field."""

    def __init__(self, *problems: Problem) -> None:
        first, *others = problems
        self.problem = Problem(first.field, "; ".join([first.message, *map(str, others)]))
        super().__init__(str(self.problem))


def shown(name: str) -> str:
    """A name from the user's file, safe to print on a terminal."""
    text = name if name.isprintable() and name else repr(name)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def unknown_name(name: str) -> Problem:
    """The problem with an unknown field name."""
    near = _near(name) if len(name) <= MAX_NAME else None
    return near or Problem(shown(name), 'is not a field of a prompt; keep it inside "metadata", or remove it')


@lru_cache(KNOWN_NAMES)
def _near(name: str) -> Problem | None:
    """The problem with a near miss of a field name. Cached: it is usually on every line."""
    if name == "max_length" or nearest(name, NAMES):
        return Problem(shown(name), unknown_setting(name, NAMES).message)
    return None


class RowSettings:
    """Reads the settings of rows and merges them with the job's; each combination is checked once.

    A row's seed is read separately, because it usually differs from row to row.
    """

    def __init__(self, base: SamplingSettings) -> None:
        self._base = base
        self._known = BoundedMemo[bytes, tuple[dict[str, Any] | None, int]]()

    def read(self, raw: dict[str, object]) -> tuple[dict[str, Any] | None, int]:
        """A row's own settings, JSON-ready by canonical name (None = it has none), and its n.

        The mapping may be shared between rows with the same settings: do not change it.

        Raises:
            BadRow: a name is unknown, or a value cannot be used.
        """
        strangers = [name for name in raw if name not in CANONICAL]
        if strangers:
            raise BadRow(*map(unknown_name, strangers[:5]))
        seed = raw.pop("seed", None)
        try:
            own, n = self._combination(raw)
            return (own if seed is None else {**(own or {}), **read_settings({"seed": seed})}), n
        except SettingsError as wrong:
            raise BadRow(*wrong.problems) from None

    def _combination(self, raw: dict[str, object]) -> tuple[dict[str, Any] | None, int]:
        key = b",".join([encoded(item, item[0]) for item in raw.items()])

        def read() -> tuple[dict[str, Any] | None, int]:
            values = read_settings(raw)
            return _json_ready(values) or None, merge(self._base, values).n

        return self._known.get(key, read, lambda _: len(key))


def _json_ready(values: Mapping[str, Any]) -> dict[str, Any]:
    """The result of `read_settings`, in the shape of `SamplingSettings.to_dict`."""
    ready = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    if "logit_bias" in ready:
        ready["logit_bias"] = {str(token): bias for token, bias in values["logit_bias"]}
    return ready


def encoded(value: object, field: str) -> bytes:
    """`value` as JSON bytes.

    Raises:
        BadRow: it is nested too deeply, or contains U+0000.
    """
    try:
        data = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise BadRow(Problem(field, "is nested too deeply; flatten it")) from None
    # An escaped backslash before u0000 is plain text, so the cheap search only says where to look.
    if b"\\u0000" in data and _holds_nul(value):
        raise BadRow(Problem(field, NUL_CHARACTER))
    return data


def _holds_nul(value: object) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
    return False


class Admission:
    """Turns the fields of records into prompt rows, positions counting the good ones from 0.

    Remembers a 64-bit hash and a line number for every custom_id. Python seeds its hashes anew in every process, so two
    ids of a million rows collide once in 30 million runs.
    """

    def __init__(self, base: SamplingSettings) -> None:
        self.count = 0
        self._n = base.n
        self._settings = RowSettings(base)
        self._first_lines = FirstLines()

    def admit(self, fields: dict[str, Any], number: int) -> PromptRow:
        """The row that `fields` describe; `number` is its line number. Consumes `fields`.

        Raises:
            BadRow: they cannot be used.
        """
        prompt = fields.pop("prompt", _ABSENT)
        custom_id = fields.pop("custom_id", None)
        metadata = fields.pop("metadata", None)
        settings, n = self._settings.read(fields) if fields else (None, self._n)
        if type(prompt) is not str or "\0" in prompt:
            raise BadRow(_prompt_problem(prompt))
        if metadata is not None:
            _check_metadata(metadata)
        if custom_id is not None:
            custom_id = self._unique(custom_id, number)
        row = PromptRow(
            position=self.count, prompt=prompt, n=n, custom_id=custom_id, settings=settings, metadata=metadata
        )
        self.count += 1
        return row

    def _unique(self, custom_id: object, number: int) -> str:
        text = custom_id if type(custom_id) is str else _id_text(custom_id)
        if not 0 < len(text) <= MAX_CUSTOM_ID:
            raise BadRow(Problem("custom_id", f"must have 1 to {MAX_CUSTOM_ID} characters, not {len(text):,}"))
        if "\0" in text:
            raise BadRow(Problem("custom_id", NUL_CHARACTER))
        first = self._first_lines.first(hash(text), number)
        if first != number:
            raise BadRow(
                Problem("custom_id", f"{shown(text)!r} is already on line {first:,}; give each prompt its own")
            )
        return text


def _id_text(custom_id: object) -> str:
    if isinstance(custom_id, float) and custom_id.is_integer():
        return str(int(custom_id))
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        return str(custom_id)
    raise BadRow(Problem("custom_id", f"must be text or a whole number, not {kind(custom_id)}"))


def _prompt_problem(prompt: object) -> Problem:
    if prompt is _ABSENT:
        return Problem("prompt", 'is missing; write "prompt": "" for an empty prompt')
    if isinstance(prompt, str):
        return Problem("prompt", NUL_CHARACTER)
    return Problem("prompt", f"must be text, not {kind(prompt)}")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict):
        raise BadRow(Problem("metadata", f"must be a JSON object, not {kind(metadata)}"))
    encoded(metadata, "metadata")


def kind(value: object) -> str:
    """The type of a JSON value, in words."""
    if value is None:
        return "null"
    names: Sequence[tuple[type, str]] = (
        (bool, "true or false"),
        (str, "text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for type_, name in names if isinstance(value, type_)), type(value).__name__)
