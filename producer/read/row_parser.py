"""Turns the fields of one record into a prompt row, or a problem with a field.

Knows no format and no file; line numbers are kept only to say where a custom_id appeared first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from common.bounded_memo import BoundedMemo
from common.exact_numbers import MAX_EXACT_DOUBLE
from common.near_misses import nearest
from contract.errors import Problem, SettingsError
from contract.sampling import CANONICAL, json_ready, read_settings, unknown_setting
from contract.spec import Messages, PromptRow, SamplingSettings, merge
from producer.chat import BadMessages, as_messages, as_text, read_messages, with_system
from producer.custom_id_index import CustomIdIndex
from producer.read.lines import NUL_CHARACTER
from producer.unknown_scripts import ScriptCounts

ROW_FIELDS = ("prompt", "messages", "custom_id", "metadata")
FIELD_NAMES = (*ROW_FIELDS, *CANONICAL)
"""Every field that a row may have."""

MAX_CUSTOM_ID = 512  # characters
MAX_NAME = 64  # characters; a longer name is not compared with the valid ones
MAX_CACHED_NAMES = 4096  # of at most MAX_NAME characters each

_ABSENT = object()
TWO_PROMPTS = Problem(
    "messages",
    "stands beside prompt; keep one of them, or keep a column as data with --metadata-column messages",
)


class BadRow(ValueError):
    """A record that cannot be used. Several problems become one, under the field of the first."""

    def __init__(self, *problems: Problem) -> None:
        first, *others = problems
        self.problem = Problem(first.field, "; ".join([first.message, *map(str, others)]))
        super().__init__(str(self.problem))


def printable(name: str) -> str:
    """A name from the user's file, safe to print on a terminal."""
    text = name if name.isprintable() and name else repr(name)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def unknown_name(name: str) -> Problem:
    """The problem with an unknown field name."""
    near = _near_miss(name) if len(name) <= MAX_NAME else None
    return near or Problem(printable(name), 'is not a field of a prompt; keep it inside "metadata", or remove it')


@lru_cache(MAX_CACHED_NAMES)
def _near_miss(name: str) -> Problem | None:
    """The problem with a near miss of a field name. Cached, since the same mistake is usually on every line."""
    if name == "max_length" or nearest(name, FIELD_NAMES):
        return Problem(printable(name), unknown_setting(name, FIELD_NAMES).message)
    return None


class RowSettings:
    """Reads the settings of rows and merges them with the job's; each combination is checked once.

    Seeds are read separately, because they usually differ from row to row.
    """

    def __init__(self, base: SamplingSettings) -> None:
        self._base = base
        self._checked = BoundedMemo[bytes, tuple[dict[str, Any] | None, int]]()

    def read(self, raw: dict[str, object]) -> tuple[dict[str, Any] | None, int]:
        """A row's own settings, JSON-ready by canonical name (None = it has none), and its n.

        The mapping may be shared between rows with the same settings: do not change it.

        Raises:
            BadRow: a name is unknown, or a value cannot be used.
        """
        unknown_names = [name for name in raw if name not in CANONICAL]
        if unknown_names:
            raise BadRow(*map(unknown_name, unknown_names[:5]))
        seed = raw.pop("seed", None)
        try:
            settings, n = self._check_combination(raw)
            own_seed = read_settings({"seed": seed})  # none for -1 and null
            return ({**(settings or {}), **own_seed} if own_seed else settings), n
        except SettingsError as error:
            raise BadRow(*error.problems) from None

    def _check_combination(self, raw: dict[str, object]) -> tuple[dict[str, Any] | None, int]:
        key = b",".join([encoded(item, item[0]) for item in raw.items()])

        def check() -> tuple[dict[str, Any] | None, int]:
            values = read_settings(raw)
            return json_ready(values) or None, merge(self._base, values).n

        return self._checked.get(key, check, lambda _: len(key))


def encoded(value: object, field: str) -> bytes:
    """`value` as JSON bytes.

    Raises:
        BadRow: it is nested too deeply, or contains U+0000.
    """
    try:
        data = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise BadRow(Problem(field, "is nested too deeply; flatten it")) from None
    # u0000 after an escaped backslash is ordinary text, so a hit of this cheap search is checked closely.
    if b"\\u0000" in data and _contains_nul(value):
        raise BadRow(Problem(field, NUL_CHARACTER))
    return data


def _contains_nul(value: object) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            pending += item
    return False


class RowParser:
    """Turns the fields of records into prompt rows; their positions count the good ones from 0.

    Remembers a 64-bit hash and a line number for every custom_id. Python seeds its hashes anew in every process: of a
    million ids, two collide in one of 30 million runs.
    """

    def __init__(self, base: SamplingSettings, *, empty_prompts: bool = False, system: str | None = None) -> None:
        """
        Args:
            system: the system message of every row; then a prompt is the user's message.
        """
        self.count = 0
        self._n, self._too_long = base.n, base.on_too_long
        self._empty_prompts, self._system = empty_prompts, system
        self.scripts = ScriptCounts()
        self._ending_in_space = self._first_ending_in_space = 0
        self._settings = RowSettings(base)
        self._seen_ids = CustomIdIndex()

    def parse(self, fields: dict[str, Any], line: int) -> PromptRow:
        """The row that `fields` describe; `line` is its line number. Empties `fields`.

        Raises:
            BadRow: they cannot be used.
        """
        prompt, messages = fields.pop("prompt", _ABSENT), fields.pop("messages", None)
        custom_id = fields.pop("custom_id", None)
        metadata = fields.pop("metadata", None)
        settings, n = self._settings.read(fields) if fields else (None, self._n)
        messages = self._conversation(prompt, messages)
        if messages is None:
            prompt = self._checked_prompt(prompt)
        else:
            _check_not_cut((settings or {}).get("on_too_long", self._too_long))
            prompt = as_text(messages)
        if metadata is not None:
            _check_metadata(metadata)
        if custom_id is not None:
            custom_id = self._unique_id(custom_id, line)
        row = PromptRow(
            position=self.count, prompt=prompt, messages=messages, n=n, custom_id=custom_id, settings=settings,
            metadata=metadata,
        )  # fmt: skip
        self.count += 1
        self.scripts.look(messages[-1]["content"] if messages else prompt, line)
        if messages is None and prompt.endswith(" "):
            self._first_ending_in_space = self._first_ending_in_space or line
            self._ending_in_space += 1
        return row

    def _checked_prompt(self, prompt: object) -> str:
        if prompt is None and self._empty_prompts:
            prompt = ""
        if type(prompt) is not str or "\0" in prompt:
            raise BadRow(_prompt_problem(prompt))
        return prompt

    def _conversation(self, prompt: object, messages: object) -> Messages | None:
        """The row's messages, behind the command's system message; None if it is a plain prompt."""
        if messages is None:
            if self._system is None:
                return None
            messages = self._as_messages(prompt)
        elif prompt is not _ABSENT and prompt is not None:
            raise BadRow(TWO_PROMPTS)
        try:
            checked = read_messages(messages)
        except BadMessages as error:
            raise BadRow(error.problem) from None
        encoded(checked, "messages")
        return with_system(checked, self._system)

    def _as_messages(self, prompt: object) -> Messages:
        text = self._checked_prompt(prompt)
        if not text.strip():
            raise BadRow(Problem("prompt", "is empty, and with --system it is the user's message; write one"))
        return as_messages(text)

    def remarks(self) -> list[str]:
        """What the user should know of the rows so far."""
        count, first = self._ending_in_space, self._first_ending_in_space
        if not count:
            return []
        prompts = "1 prompt ends" if count == 1 else f"{count:,} prompts end"
        return [
            f"{prompts} in a space (line {first:,}{'' if count == 1 else ' first'}): models expect the space in "
            "front of the next word, and continue worse after one; remove it unless it is meant"
        ]

    def _unique_id(self, custom_id: object, line: int) -> str:
        text = custom_id if type(custom_id) is str else _id_text(custom_id)
        if not 0 < len(text) <= MAX_CUSTOM_ID:
            raise BadRow(Problem("custom_id", f"must have 1 to {MAX_CUSTOM_ID} characters, not {len(text):,}"))
        if "\0" in text:
            raise BadRow(Problem("custom_id", NUL_CHARACTER))
        first = self._seen_ids.first_line(hash(text), line)
        if first != line:
            raise BadRow(
                Problem("custom_id", f"{printable(text)!r} is already on line {first:,}; give each prompt its own")
            )
        return text


def _check_not_cut(on_too_long: str) -> None:
    if on_too_long.startswith("truncate"):
        raise BadRow(
            Problem(
                "on_too_long",
                f"is {on_too_long}, but nothing can be left out of messages without breaking the model's chat "
                "template; use shorten or refuse for this row",
            )
        )


def _id_text(custom_id: object) -> str:
    if isinstance(custom_id, float) and custom_id.is_integer():
        if abs(custom_id) > MAX_EXACT_DOUBLE:
            raise BadRow(Problem("custom_id", "is a decimal number too large to be exact; write it as text"))
        return str(int(custom_id))
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        return str(custom_id)
    raise BadRow(Problem("custom_id", f"must be text or a whole number, not {type_name(custom_id)}"))


def _prompt_problem(prompt: object) -> Problem:
    if prompt is _ABSENT:
        return Problem("prompt", 'is missing; write "prompt": "" for an empty prompt')
    if isinstance(prompt, str):
        return Problem("prompt", NUL_CHARACTER)
    return Problem("prompt", f"must be text, not {type_name(prompt)}")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict):
        raise BadRow(Problem("metadata", f"must be a JSON object, not {type_name(metadata)}"))
    encoded(metadata, "metadata")


def type_name(value: object) -> str:
    """What the type of a JSON value is called in messages."""
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
