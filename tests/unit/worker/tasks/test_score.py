"""What is scored together: texts of like length, and no more of them than a crash may cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from contract.policy import ScoreBy
from db.jobs.jobs import get_job
from db.jobs.rescore import rescore_job
from db.models import Output
from db.review.decisions.acts import decide
from db.review.detail import read_output
from db.session.engine import Database
from db.work.outputs import UnscoredText
from db.work.score_requests import mark_words, read_words
from worker.runtime.runtime import Runtime
from worker.tasks import celery_tasks
from worker.tasks.score import GROUP_CHARACTERS, GROUP_TEXTS, classify, grouped


def texts(lengths: list[int]) -> list[UnscoredText]:
    return [UnscoredText(i, "a" * length, 0) for i, length in enumerate(lengths)]


@given(st.lists(st.integers(0, GROUP_CHARACTERS + 10), max_size=20) | st.lists(st.integers(0, 9), max_size=300))
def test_every_text_is_in_one_group_and_no_group_is_larger_than_it_may_be(lengths: list[int]) -> None:
    groups = list(grouped(texts(lengths)))
    assert [len(text.text) for group in groups for text in group] == sorted(lengths)
    assert {text.output_id for group in groups for text in group} == set(range(len(lengths)))
    for group in groups:
        assert 1 <= len(group) <= GROUP_TEXTS
        assert len(group) == 1 or sum(len(text.text) for text in group) <= GROUP_CHARACTERS


def test_short_texts_form_large_groups_and_long_texts_small_ones() -> None:
    sizes = [len(group) for group in grouped(texts([40] * 130 + [GROUP_CHARACTERS // 2] * 3))]
    assert sizes == [128, 3, 2]


def test_the_wait_for_the_engines_turn_does_not_count_as_a_slow_step(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, now = runtime.config.step_seconds, [0.0]
    monkeypatch.setattr(runtime.watchdog, "_now", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds
        assert runtime.watchdog.overdue() is None

    class Slow:
        def score(self, texts: list[str], alive: Callable[[], object]) -> list[dict[str, float]]:
            for _ in texts:
                passes(0.7 * limit)
                alive()
            return []

    monkeypatch.setattr(runtime.cores, "give_way", lambda: passes(0.7 * limit))
    slow: Any = Slow()
    classify(runtime, slow, ["a", "b"])


def test_a_job_by_sentence_stores_the_highest_scores_and_where_they_come_from(
    runtime: Runtime, database: Database, submit: Callable[..., int]
) -> None:
    job = submit("one", score_by=ScoreBy.SENTENCE)
    celery_tasks.generate_task(1)
    with database.write() as connection:
        connection.execute(update(Output).values(text="It rained. You rude fool! It rained."))
    celery_tasks.score_task(1)
    shown = read_output(database, 1)
    assert (shown.scores, shown.deciding) == ({"toxicity": 0.9}, {"toxicity": (11, 25)})
    rescore_job(database, job, score_by=ScoreBy.WINDOW)
    celery_tasks.score_task(1)
    assert read_output(database, 1).deciding == {}
    assert get_job(database, job).status == "completed"


def test_an_edit_and_the_words_of_a_job_by_sentence_are_scored_by_sentence(
    runtime: Runtime, database: Database, submit: Callable[..., int], classifier: Any
) -> None:
    submit("one", score_by=ScoreBy.SENTENCE)
    celery_tasks.generate_task(1)
    celery_tasks.score_task(1)
    decide(database, 1, "anna", "edit", text="It rained. Such a rude remark.")
    celery_tasks.score_task(None)
    shown = read_output(database, 1)
    assert (shown.scores, shown.deciding) == ({"toxicity": 0.9}, {"toxicity": (11, 30)})
    mark_words(database, 1)
    celery_tasks.score_task(None)
    assert classifier.groups[-1] == 2 + 6  # two sentences, and each of six words left out of its own
    words = read_words(database, 1)
    assert words is not None and words.drops == {"toxicity": (0, 0, 0, 0, pytest.approx(0.8), 0)}
