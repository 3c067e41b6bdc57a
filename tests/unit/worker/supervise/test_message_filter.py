"""What gets through from Redis: an id, in a message made anew, and nothing else of any message."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.messages import envelope
from contract.queue import GENERATE, SCORE, TUNE, make_app
from contract.settings import Settings
from tests.examples import examples
from worker.supervise.message_filter import CONTROL_QUEUE_SUFFIX, HARMLESS_COMMANDS, sanitized

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SAID = {"args": [1], "task": GENERATE}


def sent(task: str, hint: object, queue: str) -> dict[str, Any]:
    """A message as our own producer lays it into Redis."""
    message: dict[str, Any] = {}
    app = make_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    with app.connection_for_write("memory://") as connection, app.amqp.Producer(connection) as producer:
        channel = producer.channel
        channel._put = lambda queue, said, **_: message.update(said)
        app.send_task(task, args=(hint,), queue=queue, producer=producer)
    return message


@pytest.mark.parametrize(
    ("task", "hint", "queue"),
    [
        (GENERATE, 41, "generate.demo"),
        (SCORE, 2**63 - 1, "score.demo"),
        (SCORE, "request-7", "score.demo"),
        (TUNE, 5, "tune.cuda"),
    ],
)
def test_a_genuine_hint_gets_through(task: str, hint: int | str, queue: str) -> None:
    anew = sanitized(sent(task, hint, queue), queue)
    assert anew is not None and anew["headers"]["task"] == task
    assert json.loads(b64decode(anew["body"]))[:2] == [[hint], {}]


def test_nothing_but_the_id_gets_through() -> None:
    strange = envelope(
        json.dumps([[7], {}, {"callbacks": [SAID], "chain": [SAID]}]).encode(),
        {"task": GENERATE, "eta": "2099-01-01", "retries": 9, "id": "forged", "reply_to": "x"},
        properties={"delivery_tag": "forged", "reply_to": "x", "body_encoding": "base64"},
    )
    anew = sanitized(json.loads(strange), "generate.demo")
    assert anew is not None and anew["headers"].keys() == {"task", "id"}
    assert json.loads(b64decode(anew["body"])) == [[7], {}, None]
    assert "forged" not in json.dumps(anew)


@examples(80)
@given(body=JSON, headers=JSON, kind=JSON, task=st.sampled_from([GENERATE, SCORE]) | JSON)
def test_a_message_is_rebuilt_or_dropped(body: object, headers: object, kind: object, task: object) -> None:
    named = {**headers, "task": task} if isinstance(headers, dict) else headers
    whole = json.loads(envelope(json.dumps(body).encode(), named))
    for message in (body, {"headers": named, "content-type": kind, "body": body}, whole):
        for queue in ("generate.demo", "score.demo", f"x{CONTROL_QUEUE_SUFFIX}"):
            anew = sanitized(message, queue)
            if anew is not None and not queue.endswith(CONTROL_QUEUE_SUFFIX):
                ((hint,), _, _) = json.loads(b64decode(anew["body"]))
                assert type(hint) in (int, str) and anew["headers"]["task"] in (GENERATE, SCORE)


def test_no_harmless_command_reveals_settings() -> None:
    assert not {"stats", "conf", "report", "shutdown"} & HARMLESS_COMMANDS
