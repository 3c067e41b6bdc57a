"""Rows as documents: a text, a prompt with its completion, or messages.

Knows fields and not the files they come from; what a chat template makes of messages is for `chat_template`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from contract.errors import Problem, UsageError
from contract.spec import Messages
from producer.chat import BadMessages, read_turns
from producer.corpus.documents.pieces import Piece, texts_between_separators, whole
from producer.read.columns import EMPTY, MESSAGES, message_list
from producer.read.row_parser import BadRow, printable, type_name

TEXT, PROMPT, COMPLETION = "text", "prompt", "completion"
KNOWN_COLUMNS = (TEXT, PROMPT, COMPLETION, MESSAGES)
OF_AN_EXPORT = {PROMPT, TEXT, "position", "sample_index"}
"""A row with all of these is one of our exports, in which the text goes on from the prompt."""
EXPORTED = ""  # no column is called so
SHOWN_NAMES = 12


class Template(Protocol):
    """A model's chat template."""

    def segments(self, messages: Messages) -> Sequence[tuple[str, bool]]:
        """The conversation as texts, those of them learned that the model answers.

        Raises:
            BadRow: it does not take them.
        """
        ...


def columns_looked_at(names: Sequence[str], text_column: str | None) -> list[str]:
    """Those of a table's columns in which its documents are; all of them where no name tells.

    Args:
        text_column: the one that was named; None = none was.
    """
    wanted = (*KNOWN_COLUMNS, *OF_AN_EXPORT) if text_column is None else (text_column,)
    return [name for name in names if name in wanted] or list(names)


class RowDocuments:
    """Makes documents of rows.

    Args:
        text_column: where the texts are; None = what each row has tells.
        learns_prompts: the model learns what was asked as well as the answers.
    """

    def __init__(self, text_column: str | None, template: Template, *, learns_prompts: bool = False) -> None:
        self._text_column, self._template, self._learns_prompts = text_column, template, learns_prompts

    def check_names(self, names: Collection[str], source: str) -> None:
        """Checks that a table's columns, which are the same in every row, hold texts.

        Raises:
            UsageError: they do not.
        """
        try:
            self._kind(dict.fromkeys(names, TEXT))
        except BadRow as error:
            raise UsageError(f"{source}: {error}") from None

    def columns(self, names: Sequence[str]) -> list[str]:
        """Those of a table's columns that are looked at."""
        return columns_looked_at(names, self._text_column)

    def pieces(self, line: int, fields: Mapping[str, Any]) -> Iterator[Piece]:
        """The documents in a row.

        Raises:
            BadRow: it has no text, or one that cannot be used.
        """
        kind = self._kind(fields)
        if kind == MESSAGES:
            yield from whole(line, self._conversation(fields[MESSAGES]))
        elif kind in (COMPLETION, EXPORTED):
            answer = _text(fields, COMPLETION if kind == COMPLETION else TEXT)
            asked = (_text(fields, PROMPT), self._learns_prompts)
            yield from whole(line, [asked, (answer, True)] if answer.strip() else [])
        else:
            yield from texts_between_separators(line, _text(fields, kind))

    def _kind(self, fields: Mapping[str, Any]) -> str:
        """What a row is: `messages`, `completion`, `EXPORTED`, or the name of the column that has its text."""
        column = self._text_column
        if column is not None:
            if column not in fields:
                raise BadRow(_no_text(f"no column is named {printable(column)!r}, which --text-column names", fields))
            return column
        if fields.keys() >= OF_AN_EXPORT:
            return EXPORTED
        if fields.get(MESSAGES) not in EMPTY:
            return MESSAGES
        if PROMPT in fields and COMPLETION in fields:
            return COMPLETION
        if TEXT in fields:
            return TEXT
        if len(fields) == 1 and next(iter(fields)) not in KNOWN_COLUMNS:
            return next(iter(fields))
        raise BadRow(
            _no_text("has neither a text, nor prompt and completion, nor messages; --text-column NAME says", fields)
        )

    def _conversation(self, value: object) -> Sequence[tuple[str, bool]]:
        try:
            messages = read_turns(message_list(value))
        except BadMessages as error:
            raise BadRow(error.problem) from None
        if all(message["role"] != "assistant" for message in messages):
            raise BadRow(Problem(MESSAGES, "have no answer; a message of the assistant is what the model learns"))
        segments = self._template.segments(messages)
        return [(text, True) for text, _ in segments] if self._learns_prompts else segments


def _no_text(what: str, fields: Mapping[str, Any]) -> Problem:
    names = list(fields)
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    which = " which of them has it" if what.endswith("says") else ""
    return Problem("", f"{what}{which}. Columns: {', '.join(map(printable, names[:SHOWN_NAMES])) or 'none'}{more}")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(Problem(printable(name), f"must be text, not {type_name(value)}"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(Problem(printable(name), "has half of a surrogate pair, which is not a character")) from None
    return value
