"""Messages in place of a prompt: which a row may have, how they read as one text, and what to tell of them.

Knows no file format. What becomes of them is for the worker, which has the model's chat template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.near_misses import did_you_mean
from contract.errors import Problem
from contract.spec import Messages, PromptRow
from producer.long_prompts import tokenizer_folder

ROLES = ("system", "user", "assistant")
EXAMPLE = '[{"role": "user", "content": "Name a river."}]'
SHOWN_NAME = 40


class BadMessages(ValueError):
    """They cannot be used. The problem says which and why."""

    def __init__(self, place: str, message: str) -> None:
        self.problem = Problem(f"messages{place}", message)
        super().__init__(str(self.problem))


def with_system(messages: Messages, system: str | None) -> Messages:
    """Messages behind the system message of the command, unless they have their own."""
    if system is None or any(message["role"] == "system" for message in messages):
        return messages
    return [{"role": "system", "content": system}, *messages]


def as_messages(prompt: str) -> Messages:
    """A prompt as the user's message."""
    return [{"role": "user", "content": prompt}]


def as_text(messages: Messages) -> str:
    """Messages as people read and search them: each behind its role."""
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def read_messages(value: object) -> Messages:
    """A row's messages: texts of known roles, the last of them not the model's own.

    Raises:
        BadMessages: they are something else.
    """
    messages = read_turns(value)
    if messages[-1]["role"] == "assistant":
        raise BadMessages(
            f"[{len(messages) - 1}].role",
            "is assistant, and the model is to write that message; end with one of the user, or write a prompt",
        )
    return messages


def read_turns(value: object) -> Messages:
    """Texts of known roles, whoever wrote the last of them.

    Raises:
        BadMessages: they are something else.
    """
    if not isinstance(value, list):
        raise BadMessages("", f"must be a list such as {EXAMPLE}")
    if not value:
        raise BadMessages("", f"is an empty list; write at least one message, such as {EXAMPLE}")
    return [_message(one, f"[{place}]") for place, one in enumerate(value)]


def _message(value: object, place: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise BadMessages(place, 'must be an object such as {"role": "user", "content": "Name a river."}')
    # What clients add to every message, and is null or empty, says nothing.
    more = [name for name in value if name not in ("role", "content") and value[name] not in (None, [], {}, "")]
    if more:
        raise BadMessages(
            f"{place}.{more[0][:SHOWN_NAME]}", "is not supported: a message is a role and a text; remove it"
        )
    return {"role": _role(value.get("role"), place), "content": _content(value.get("content"), place)}


def _role(role: object, place: str) -> str:
    if role in ROLES:
        return str(role)
    if role is None:
        raise BadMessages(f"{place}.role", f"is missing; write one of {', '.join(ROLES)}")
    hint = 'write "system"' if role == "developer" else f"use one of {', '.join(ROLES)}"
    if isinstance(role, str) and role != "developer":
        hint = did_you_mean(role[:SHOWN_NAME], ROLES, hint)
    raise BadMessages(f"{place}.role", f"is {str(role)[:SHOWN_NAME]!r}; {hint}")


def _content(content: object, place: str) -> str:
    if isinstance(content, str) and content.strip():
        return content
    if content is None or isinstance(content, str):
        raise BadMessages(f"{place}.content", "is empty; write a text, or leave the message out")
    if isinstance(content, list):
        raise BadMessages(
            f"{place}.content", "is a list of parts; write one text (images, sounds and files are not supported)"
        )
    raise BadMessages(f"{place}.content", "must be text")


def plain_prompts(model: str) -> str:
    """What the user should know of prompts for a model that has a chat template."""
    return (
        f"the model {model} has a chat template, which plain prompts do not go through: if they are instructions, "
        'write them as "messages", or say --system TEXT'
    )


def lacks_chat_template(model: str) -> bool | None:
    """Whether a model has no chat template; None if its tokenizer is not on this machine, or nothing tells."""
    with suppress(Exception):  # whatever is wrong with a model's files, the worker says it
        if (folder := tokenizer_folder(model)) is not None:
            return not _has_chat_template(folder)
    return None


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    said: Any = json.loads(config.read_bytes()) if config.is_file() else {}
    return bool(said.get("chat_template"))


@dataclass(slots=True)
class ChatRows:
    """Counts the rows of one file that are messages, and those that are plain prompts."""

    messages: int = 0
    prompts: int = 0

    def look(self, row: PromptRow) -> None:
        """Takes note of a row."""
        if row.messages is None:
            self.prompts += 1
        else:
            self.messages += 1

    def remarks(self, model: str) -> list[str]:
        """What the user should know where the model and its rows do not go together."""
        lacks = lacks_chat_template(model)
        if lacks and self.messages:
            rows = "1 row has" if self.messages == 1 else f"{self.messages:,} rows have"
            return [
                f"{rows} messages, and the model {model} has no chat template to make a prompt of them: they will be "
                "given up; choose a model that was tuned to chat"
            ]
        if lacks is False and self.prompts:
            return [plain_prompts(model)]
        return []
