"""What a worker does with score requests: edits scored, words marked, failures counted, before any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.queue import request_hint
from contract.review import State
from db.review.decisions.acts import decide
from db.review.detail import read_output
from db.session.engine import Database
from db.work.claims import claim_scoring
from db.work.recovery import mark_death
from db.work.request_claims import waiting_requests
from db.work.score_requests import mark_words, read_words
from worker.runtime import quarantine
from worker.runtime.runtime import Runtime, _waiting_to_score
from worker.safety.occlusion import MOST_PARTS, drops, parts, without
from worker.tasks import celery_tasks


@pytest.fixture
def reviewed(runtime: Runtime, submit: Callable[..., int]) -> Callable[..., int]:
    """One prompt's output, generated and scored; its id."""

    def make(**job: Any) -> int:
        submit("one", **job)
        celery_tasks.generate_task(1)
        celery_tasks.score_task(1)
        return 1

    return make


def test_any_message_gets_a_waiting_edit_scored(
    runtime: Runtime, database: Database, reviewed: Callable[..., int], classifier: Any
) -> None:
    output = reviewed()
    for number, hint in enumerate([None, 77, "request-1", "request-forged", {"x": 1}, -3]):
        decide(database, output, "anna", "edit", text=f"rude {number}")
        celery_tasks.score_task(hint)
        shown = read_output(database, output)
        assert (shown.state, shown.scores) == (State.EDITED, {"toxicity": 0.9}), hint
    before = list(classifier.groups)
    for _ in range(3):  # messages that came twice
        celery_tasks.score_task("request-1")
    assert classifier.groups == before


def test_a_score_request_is_served_before_a_batch(
    runtime: Runtime, database: Database, reviewed: Callable[..., int], submit: Callable[..., int]
) -> None:
    output = reviewed()
    submit("two", "three")
    celery_tasks.generate_task(2)
    decide(database, output, "anna", "edit", text="kind")
    assert _waiting_to_score(database, runtime.ability) == [request_hint(1), 2]
    celery_tasks.score_task(2)
    assert read_output(database, output).state is State.EDITED
    assert _waiting_to_score(database, runtime.ability) == [2]
    celery_tasks.score_task(2)
    assert _waiting_to_score(database, runtime.ability) == []


def test_a_score_request_is_served_before_a_suspect_that_is_due(
    runtime: Runtime, database: Database, reviewed: Callable[..., int], submit: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    output = reviewed()
    submit("two")
    celery_tasks.generate_task(2)
    claim_scoring(database, runtime.ability, 60)
    mark_death(database, runtime.worker, "was killed")
    decide(database, output, "anna", "edit", text="kind")
    monkeypatch.setattr(quarantine, "SUSPECTS_SECONDS", -1.0)
    celery_tasks.score_task(None)
    assert read_output(database, output).state is State.EDITED
    assert _waiting_to_score(database, runtime.ability) == [2]
    celery_tasks.score_task(None)
    assert _waiting_to_score(database, runtime.ability) == []


def test_a_text_that_cannot_be_scored_is_given_up_and_holds_nothing_up(
    runtime: Runtime, database: Database, reviewed: Callable[..., int]
) -> None:
    output = reviewed()
    decide(database, output, "anna", "edit", text="unscorable")
    for _ in range(4):
        celery_tasks.score_task(None)
    request = read_output(database, output).edit
    assert request is not None and request.status == "failed"
    assert request.reason == "the classifier failed: RuntimeError: this text cannot be scored"
    assert read_output(database, output).state is State.WAITING


def test_the_words_that_carry_a_score_are_marked(
    runtime: Runtime, database: Database, reviewed: Callable[..., int]
) -> None:
    output = reviewed()
    decide(database, output, "anna", "edit", text="such a rude remark")
    celery_tasks.score_task(None)
    mark_words(database, output)
    celery_tasks.score_task(None)
    words = read_words(database, output)
    assert words is not None and words.status == "done"
    marked = dict(zip(("such", "a", "rude", "remark"), words.drops["toxicity"], strict=True))
    assert marked == {"such": 0.0, "a": 0.0, "rude": pytest.approx(0.8), "remark": 0.0}


def test_a_request_for_a_classifier_not_loaded_here_is_left_to_other_workers(
    runtime: Runtime, database: Database, reviewed: Callable[..., int]
) -> None:
    output = reviewed()
    decide(database, output, "anna", "edit", text="kind")
    runtime.classifiers._loaded.clear()
    runtime.classifiers.get = lambda name: None  # type: ignore[method-assign]
    celery_tasks.score_task(None)
    assert waiting_requests(database, ["demo"], alone=False) == [1]  # charged with nothing


def test_a_worker_that_leaves_gives_the_request_back(
    runtime: Runtime, database: Database, reviewed: Callable[..., int]
) -> None:
    output = reviewed()
    decide(database, output, "anna", "edit", text="kind")
    runtime.stopping.set()
    celery_tasks.score_task(None)
    assert waiting_requests(database, ["demo"], alone=False) == [1]


@given(st.text(max_size=500) | st.text("a \n", min_size=200, max_size=3000) | st.just("x" * 4000))
def test_parts_cover_every_character_except_spaces_once(text: str) -> None:
    spans = parts(text)
    assert len(spans) <= MOST_PARTS
    last = 0
    for start, end in spans:
        assert last <= start < end <= len(text)
        assert not text[last:start].strip()
        assert without(text, (start, end)) == text[:start] + text[end:]
        last = end
    assert not text[last:].strip()


def test_a_drop_is_how_far_a_score_falls_without_a_part() -> None:
    assert drops({"a": 0.9, "b": 0.1}, [{"a": 0.2, "b": 0.3}]) == {"a": [0.7], "b": [-0.2]}
