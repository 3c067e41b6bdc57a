"""What gets through from Redis: the task's name and an id, and nothing else of any message."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from celery.worker.control import Panel
from hypothesis import given
from hypothesis import settings as example_count
from hypothesis import strategies as st

from contract.queue import GENERATE, SCORE, app
from tests.acceptance.hostile import envelope, hostile_messages
from worker.child import ANSWERED, answer_harmless
from worker.messages import NoHint, made_anew

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SAID = {"args": [1], "task": GENERATE}


def sent(task: str, hint: object) -> dict[str, Any]:
    """A message as our own producer lays it into Redis."""
    message: dict[str, Any] = {}
    with app.connection_for_write("memory://") as connection, app.amqp.Producer(connection) as producer:
        channel = producer.channel
        channel._put = lambda queue, said, **_: message.update(said)
        app.send_task(task, args=(hint,), queue="generate.demo", producer=producer)
    return message


@pytest.mark.parametrize(("task", "hint"), [(GENERATE, 41), (SCORE, 2**63 - 1), (SCORE, "request-7")])
def test_a_hint_of_ours_gets_through(task: str, hint: int | str) -> None:
    anew = made_anew(sent(task, hint), "generate.demo")
    assert anew["headers"]["task"] == task
    assert json.loads(b64decode(anew["body"])) == [[hint], {}, {}]


def test_nothing_but_the_tasks_name_and_the_id_gets_through() -> None:
    strange = envelope(
        json.dumps([[7], {"more": 1}, {"callbacks": [SAID], "chain": [SAID]}]).encode(),
        headers={"eta": "2099-01-01", "retries": 9, "id": "forged", "reply_to": "x"},
        properties={"delivery_tag": "forged", "reply_to": "x"},
    )
    anew = made_anew(strange, "generate.demo")
    assert json.loads(b64decode(anew["body"])) == [[7], {}, {}]
    assert anew["headers"].keys() == {"lang", "task", "id"}
    assert "forged" not in json.dumps(anew)


def test_of_hostile_messages_only_forged_hints_get_through(tmp_path: Path) -> None:
    passed = 0
    for raw in hostile_messages(tmp_path / "it-ran"):
        try:
            made_anew(json.loads(raw), "generate.demo")
            passed += 1
        except (NoHint, ValueError, RecursionError):
            continue
    assert passed == 7  # a right id beside odd headers or properties, which are left behind
    assert not (tmp_path / "it-ran").exists()


@example_count(max_examples=80, deadline=None)
@given(body=JSON, headers=JSON, kind=JSON, task=st.sampled_from([GENERATE, SCORE]) | JSON)
def test_a_message_is_made_anew_or_dropped(body: object, headers: object, kind: object, task: object) -> None:
    named = {**headers, "task": task} if isinstance(headers, dict) else headers
    for message in (body, {"headers": named, "content-type": kind, "body": body}, envelope(json.dumps(body).encode())):
        try:
            anew = made_anew(message, "generate.demo")
        except NoHint:
            continue
        ((hint,), _, _) = json.loads(b64decode(anew["body"]))
        assert type(hint) in (int, str) and anew["headers"]["task"] in (GENERATE, SCORE)


def test_a_worker_answers_no_command_that_acts_or_tells_settings() -> None:
    commands = dict(Panel.data)
    assert {"shutdown", "rate_limit", "stats", "conf"} < commands.keys()
    answer_harmless(commands)
    assert commands.keys() == ANSWERED
