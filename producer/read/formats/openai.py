"""OpenAI batch files: `{"custom_id", "method", "url": "/v1/completions" or "/v1/chat/completions", "body": {…}}`.

Settings that a body leaves out have OpenAI's defaults. Which fields mean nothing here, `foreign_fields` knows.
See https://platform.openai.com/docs/api-reference/completions/create, …/chat/create and …/batch/request-input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import Any

import orjson

from common.near_misses import did_you_mean
from contract.errors import Problem
from producer.chat import EXAMPLE
from producer.read.foreign_fields import drop_neutral
from producer.read.formats.jsonl import JsonReader, read_object
from producer.read.read_options import ReadOptions
from producer.read.row_parser import BadRow, printable, type_name
from producer.source import Source

URL, CHAT_URL = "/v1/completions", "/v1/chat/completions"
ENVELOPE = ("custom_id", "method", "url", "body")
SEARCHED_LINES = 100  # for the model's name and the endpoint
CHAT_DEFAULTS = MappingProxyType({"top_k": 0})
"""OpenAI's own for a conversation: it has none for the length of an answer, so that ours counts."""


class OpenAiReader(JsonReader):
    """Requests to the completions endpoints.

    `model` is the one that the first request names, and the others must agree; the endpoint of the first one decides on
    the defaults.
    """

    name, extension = "openai", ".jsonl"
    defaults = MappingProxyType({"max_new_tokens": 16, "top_k": 0})

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        models = (body["model"] for _, body in self._first_requests() if isinstance(body.get("model"), str))
        self.model = next(models, None)
        if next((url for url, _ in self._first_requests()), None) == CHAT_URL:
            self.defaults = CHAT_DEFAULTS

    def _first_requests(self) -> Iterator[tuple[object, dict[str, Any]]]:
        """The endpoint and the body of the first requests that can be read."""
        for _, line in islice(self.records(), SEARCHED_LINES):
            with suppress(orjson.JSONDecodeError):
                request = orjson.loads(line)
                if isinstance(request, dict) and isinstance(request.get("body"), dict):
                    yield request.get("url"), request["body"]

    def fields(self, record: bytes) -> dict[str, Any] | None:
        request = read_object(record)
        if request is None:
            return None
        _check_envelope(request)
        body: dict[str, Any] = request["body"]
        self._check_model(body.pop("model", None))
        if request["url"] == CHAT_URL:
            _read_chat(body)
        else:
            _check_prompt(body)
        if "custom_id" in body:
            raise BadRow(Problem("custom_id", "is inside body; move it next to body"))
        drop_neutral(body)
        _keep_user(body)
        return body | {"custom_id": request.get("custom_id")}

    def _check_model(self, model: object) -> None:
        if model is None or model == self.model:
            return
        if not isinstance(model, str):
            raise BadRow(Problem("body.model", f"must be text, not {type_name(model)}"))
        if self.any_model:
            return
        others = f"is {printable(self.model)!r} on earlier lines" if self.model else "is missing on the first lines"
        raise BadRow(
            Problem(
                "body.model",
                f"is {printable(model)!r} here but {others}; a job has one model: submit one file each, "
                "or choose one for all with --model",
            )
        )


def _check_envelope(request: Mapping[str, Any]) -> None:
    for name in request:
        if name not in ENVELOPE:
            hint = did_you_mean(name[:64], ENVELOPE, "settings belong in body")
            raise BadRow(Problem(printable(name), f"is not a field of a batch request; {hint}"))
    url, method = request.get("url"), request.get("method", "POST")
    if url not in (URL, CHAT_URL):
        raise BadRow(Problem("url", f'must be "{URL}" or "{CHAT_URL}"'))
    if method != "POST":
        raise BadRow(Problem("method", 'must be "POST"'))
    if not isinstance(request.get("body"), dict):
        raise BadRow(
            Problem("body", f'must be an object such as {{"prompt": "Once"}}, not {type_name(request.get("body"))}')
        )


def _read_chat(body: dict[str, Any]) -> None:
    """Checks what is special about a request of a conversation, and gives its log probabilities our form."""
    if "prompt" in body:
        raise BadRow(Problem("prompt", f'is not for "{CHAT_URL}"; write messages, or send the line to "{URL}"'))
    if body.get("messages") is None:
        raise BadRow(Problem("messages", f"is missing; write a list such as {EXAMPLE}"))
    wanted, top = body.get("logprobs"), body.pop("top_logprobs", None)
    if isinstance(wanted, bool):
        body["logprobs"] = (top or 1) if wanted else 0
    elif top:
        raise BadRow(Problem("top_logprobs", "needs logprobs: true beside it; add that, or remove it"))


def _check_prompt(body: Mapping[str, Any]) -> None:
    if body.get("messages") is not None:
        raise BadRow(Problem("messages", f'is not for "{URL}"; send the line to "{CHAT_URL}"'))
    prompt = body.get("prompt")
    if not isinstance(prompt, list):
        return
    if prompt and all(isinstance(item, str) for item in prompt):
        raise BadRow(Problem("prompt", "is a list of texts; give each text its own line and custom_id"))
    raise BadRow(Problem("prompt", "is a list of token ids, which depend on the model; write the prompt as text"))


def _keep_user(body: dict[str, Any]) -> None:
    """OpenAI's `user` becomes metadata."""
    user = body.pop("user", None)
    if user is not None:
        metadata = body.get("metadata") or {}
        body["metadata"] = {**metadata, "user": user} if isinstance(metadata, dict) else metadata
