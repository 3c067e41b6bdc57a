"""A model's chat template, rendered as transformers renders it, and without it: which parts of a conversation are the
model's own answers.

Knows no tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contract.errors import Problem
from contract.spec import Messages
from producer.read.columns import MESSAGES
from producer.read.row_parser import BadRow

NO_TEMPLATE = Problem(
    MESSAGES,
    "need a model with a chat template, and this one has none; write prompt and completion, or choose a base that was "
    "tuned to chat",
)
SHOWN_REASON = 200
"""Characters of what a template says against messages."""


class ChatTemplate:
    """The chat template of a tokenizer in a folder.

    Args:
        end_of_text: what the end-of-text token is written as; behind a conversation that ends with it, nothing follows.
    """

    def __init__(self, folder: Path, end_of_text: str) -> None:
        said = _configuration(folder)
        self._source = _template(folder, said)
        self._template: Template | None = None
        self._tokens = {name: _written(said[name]) for name in said if name.endswith("_token") and said[name]}
        self._end_of_text = end_of_text

    def segments(self, messages: Messages) -> Sequence[tuple[str, bool]]:
        """The conversation as texts, those of them learned that the model answers.

        Raises:
            BadRow: there is no template, it does not take these messages, or does not show where an answer begins.
        """
        whole, found, end = self._render(messages), list[tuple[str, bool]](), 0
        whole = self._without_rest(whole)
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked, answered = self._render(messages[:place], answer=True), self._render(messages[: place + 1])
            answered = whole if place == len(messages) - 1 else answered
            if whole.startswith(asked) and whole.startswith(answered) and end <= len(asked) < len(answered):
                found += [(whole[end : len(asked)], False), (whole[len(asked) : len(answered)], True)]
                end = len(answered)
        if not found:
            raise BadRow(Problem(MESSAGES, "are changed by the chat template, so that their answers cannot be told"))
        return [*found, (whole[end:], False)] if end < len(whole) else found

    def _without_rest(self, text: str) -> str:
        kept = text.rstrip()
        return kept if kept.endswith(self._end_of_text) else text

    def _render(self, messages: Messages, *, answer: bool = False) -> str:
        if self._source is None:
            raise BadRow(NO_TEMPLATE)
        if not messages:
            return ""
        try:
            self._template = self._template or _environment().from_string(self._source)
            return str(self._template.render(messages=messages, add_generation_prompt=answer, **self._tokens))
        except Exception as error:  # whatever the template's code raises
            said = " ".join(str(error).split())[:SHOWN_REASON] or type(error).__name__
            raise BadRow(Problem(MESSAGES, f"are not taken by the model's chat template: {said}")) from error


def _configuration(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_bytes()) if path.is_file() else {}
    return said if isinstance(said, dict) else {}


def _template(folder: Path, said: dict[str, Any]) -> str | None:
    """The template as transformers finds it; of several, the default one."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text("utf-8")
    template = said.get("chat_template")
    if isinstance(template, list):
        template = next((one.get("template") for one in template if one.get("name") == "default"), None)
    return template or None


def _written(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


class _Generation(Extension):
    """The tag `generation`, with which templates mark answers for transformers."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
