"""OpenAI batch files: their defaults, their model, and what of OpenAI's own makes no sense here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producer.read.prompt_file import open_prompt_file
from tests.unit.producer.conftest import Read, no_bad_line

Reading = Callable[..., Read]
USER = {"role": "user", "content": "Name a river."}


def request(body: dict[str, Any], custom_id: str = "a", /, **envelope: Any) -> str:
    return (
        json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body} | envelope) + "\n"
    )


def test_a_setting_missing_from_a_request_comes_from_the_flag_or_openais_default(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(request({"model": "gpt2", "prompt": "Once", "temperature": 0.2}))
    with open_prompt_file(str(path)) as file:
        assert (file.format, file.model) == ("openai", "gpt2")
        base = file.base_settings({})
        assert (base.max_new_tokens, base.top_k, base.temperature) == (16, 0, 1.0)
        base = file.base_settings({"max_new_tokens": 99, "n": 2})
        assert (base.max_new_tokens, base.top_k, base.n) == (99, 0, 2)
        (row,) = file.rows({"n": 2}, no_bad_line)
    assert (row.custom_id, row.prompt, row.n, row.settings) == ("a", "Once", 2, {"temperature": 0.2})


def test_a_request_is_checked_against_openais_default_length(read: Reading) -> None:
    assert "min_tokens" not in read(request({"prompt": "", "min_tokens": 16}), form="openai").told
    assert "is 17, more than max_new_tokens 16" in read(request({"prompt": "", "min_tokens": 17})).told


def test_the_model_is_the_one_that_the_first_readable_request_names(read: Reading) -> None:
    found = read('{"custom_id": "x", "url": "/v1/completions", "body": \n' + request({"model": "gpt2", "prompt": ""}))
    assert (found.format, found.model, len(found.rows), found.bad[0].number) == ("openai", "gpt2", 1, 1)


def test_a_second_model_is_a_bad_line(read: Reading) -> None:
    found = read(
        request({"model": "gpt2", "prompt": ""}, "a")
        + request({"prompt": ""}, "b")
        + request({"model": "gpt2-large", "prompt": ""}, "c")
    )
    assert [row.custom_id for row in found.rows] == ["a", "b"]
    assert found.told.startswith(
        "line 3: body.model: is 'gpt2-large' here but is 'gpt2' on earlier lines; a job has one"
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            request({"prompt": ["a", "b"]}),
            "prompt: is a list of texts; give each text its own line and custom_id",
        ),
        (
            request({"prompt": [1, 2]}),
            "prompt: is a list of token ids, which depend on the model; write the prompt as text",
        ),
        (request({"prompt": [[1], [2]]}), "prompt: is a list of token ids"),
        (request({}), "prompt: is missing"),
        (request({"prompt": "", "max_tokns": 5}), "max_tokns: is not a setting; did you mean max_tokens?"),
        (request({"prompt": "", "stream": True}), "stream: is not supported; remove it"),
        (request({"prompt": "", "best_of": 5}), "best_of: is not supported"),
        (request({"prompt": "", "custom_id": "x"}), "custom_id: is inside body; move it next to body"),
        (request({"prompt": "", "model": 5}), "body.model: must be text, not a number"),
        (
            request({"prompt": ""}, url="/v1/chat/completions"),
            'prompt: is not for "/v1/chat/completions"; write messages, or send the line to "/v1/completions"',
        ),
        (request({}, url="/v1/chat/completions"), "messages: is missing; write a list such as"),
        (request({"messages": [USER]}), 'messages: is not for "/v1/completions"; send the line to "/v1/chat/'),
        (
            request({"messages": [USER], "top_logprobs": 2}, url="/v1/chat/completions"),
            "top_logprobs: needs logprobs: true beside it",
        ),
        (request({"prompt": ""}, url="/v1/embeddings"), 'url: must be "/v1/completions" or "/v1/chat/completions"'),
        (request({"prompt": ""}, url=None), 'url: must be "/v1/completions"'),
        (request({"prompt": ""}, method="GET"), 'method: must be "POST"'),
        (
            request({"prompt": ""}, temperature=1),
            "temperature: is not a field of a batch request; settings belong in body",
        ),
        (request({"prompt": ""}, custm_id=1), "custm_id: is not a field of a batch request; did you mean custom_id?"),
        (request({"prompt": ""}, body="x"), 'body: must be an object such as {"prompt": "Once"}, not text'),
    ],
)
def test_a_bad_request_is_reported_with_its_field_and_a_remedy(read: Reading, line: str, told: str) -> None:
    found = read(request({"prompt": "good"}, "first") + line)
    assert found.told.startswith("line 2: " + told), found.told
    assert len(found.rows) == 1


def test_a_conversation_has_no_default_length_of_openais(read: Reading) -> None:
    found = read(request({"messages": [USER]}, url="/v1/chat/completions"), flags={"min_new_tokens": 50})
    assert [row.messages for row in found.rows] == [[USER]]  # 50 is less than our own 64


@pytest.mark.parametrize(
    ("said", "kept"),
    [({}, None), ({"logprobs": False}, {"logprobs": 0}), ({"logprobs": True}, {"logprobs": 1}),
     ({"logprobs": True, "top_logprobs": 4}, {"logprobs": 4}), ({"logprobs": None, "top_logprobs": 0}, None)],
)  # fmt: skip
def test_the_log_probabilities_of_a_conversation_are_asked_for_as_openai_does(
    read: Reading, said: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    (row,) = read(request({"messages": [USER], **said}, url="/v1/chat/completions")).rows
    assert row.settings == kept


def test_openai_fields_that_ask_for_what_happens_anyway_are_accepted(read: Reading) -> None:
    body = {"prompt": "a", "stream": False, "echo": False, "suffix": None, "n": 2, "best_of": 2, "user": "night shift"}
    (row,) = read(request(body)).rows
    assert (row.n, row.settings, row.metadata) == (2, {"n": 2}, {"user": "night shift"})


NEUTRAL = (
    {"store": False}, {"service_tier": "auto"}, {"service_tier": None, "tools": []}, {"seed": -1}, {"top_k": -1},
    {"use_beam_search": False, "length_penalty": 1.0, "ignore_eos": False}, {"skip_special_tokens": True},
    {"stop_token_ids": [], "prompt_logprobs": None, "response_format": {"type": "text"}},
)  # fmt: skip


@pytest.mark.parametrize("fields", NEUTRAL)
@pytest.mark.parametrize("enveloped", [True, False])
def test_neutral_values_of_other_engines_fields_pass(read: Reading, fields: dict[str, Any], enveloped: bool) -> None:
    body = {"prompt": "a", **fields}
    found = read(request(body) if enveloped else json.dumps(body) + "\n")
    assert (found.told, len(found.rows)) == ("", 1)
    assert found.rows[0].settings in (None, {"top_k": 0})


@pytest.mark.parametrize(
    ("name", "value"),
    [("store", True), ("service_tier", "priority"), ("ignore_eos", True), ("length_penalty", 2), ("store", 0),
     ("stop_token_ids", [5]), ("response_format", {"type": "json_object"}), ("guided_regex", "a+")],
)  # fmt: skip
@pytest.mark.parametrize("enveloped", [True, False])
def test_what_is_not_supported_is_called_that(read: Reading, name: str, value: object, enveloped: bool) -> None:
    body = {"prompt": "a", name: value}
    found = read(request(body) if enveloped else json.dumps(body) + "\n")
    assert f"{name}: is not supported" in found.told
