"""OpenAI batch files: `{"custom_id", "method", "url": "/v1/completions", "body": {…}}` on each line.

Settings that a body leaves out have OpenAI's defaults. Which fields mean nothing here, `foreign_fields` knows.
See https://platform.openai.com/docs/api-reference/completions/create and …/batch/request-input.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

import orjson

from common.near_misses import did_you_mean
from contract.errors import Problem
from producer.read.foreign_fields import drop_neutral
from producer.read.formats.jsonl import JsonReader, read_object
from producer.read.read_options import ReadOptions
from producer.read.row_parser import BadRow, printable, type_name
from producer.source import Source

URL = "/v1/completions"
ENVELOPE = ("custom_id", "method", "url", "body")
MODEL_SEARCH_LINES = 100  # lines searched for the model's name


class OpenAiReader(JsonReader):
    """Requests to the completions endpoint. `model` is the one that the first request names; the others must agree."""

    name, extension = "openai", ".jsonl"
    defaults = MappingProxyType({"max_new_tokens": 16, "top_k": 0})

    def __init__(self, source: Source, options: ReadOptions) -> None:
        super().__init__(source, options)
        self.model = self._first_model()

    def _first_model(self) -> str | None:
        for _, line in islice(self.records(), MODEL_SEARCH_LINES):
            try:
                request = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            body = request.get("body") if isinstance(request, dict) else None
            if isinstance(body, dict) and isinstance(body.get("model"), str):
                return str(body["model"])
        return None

    def fields(self, record: bytes) -> dict[str, Any] | None:
        request = read_object(record)
        if request is None:
            return None
        _check_envelope(request)
        body: dict[str, Any] = request["body"]
        self._check_model(body.pop("model", None))
        _check_prompt(body.get("prompt"))
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
    if url != URL:
        raise BadRow(Problem("url", _url_message(url)))
    if method != "POST":
        raise BadRow(Problem("method", 'must be "POST"'))
    if not isinstance(request.get("body"), dict):
        raise BadRow(
            Problem("body", f'must be an object such as {{"prompt": "Once"}}, not {type_name(request.get("body"))}')
        )


def _url_message(url: object) -> str:
    if isinstance(url, str) and "chat" in url:
        return f'must be "{URL}": these models complete text and do not chat; write the conversation as one prompt'
    return f'must be "{URL}"'


def _check_prompt(prompt: object) -> None:
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
