"""A worker whose classifier is another revision than the one that scores a job leaves that job's texts alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from db.jobs.jobs import get_job
from db.models import Score
from db.review.decisions.acts import decide
from db.session.engine import Database
from db.work.claims import waiting_scoring
from db.work.request_claims import waiting_requests
from tests.unit.worker.conftest import StubClassifier
from worker.runtime.runtime import Runtime
from worker.tasks import celery_tasks


class Changed(StubClassifier):
    """What lies in the same place by now."""

    revision = "changed"


@pytest.fixture
def half_scored(runtime: Runtime, submit: Callable[..., int]) -> int:
    """A job of two batches whose first is scored."""
    job = submit("one", "two", batch_size=1)
    for batch in (1, 2):
        celery_tasks.generate_task(batch)
    celery_tasks.score_task(1)
    return job


def revisions(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(Score.classifier_revision).order_by(Score.output_id)))


def swap(runtime: Runtime, classifier: Any, *, loaded: bool) -> None:
    """As in the next process, after the classifier's file was changed."""
    runtime.classifiers._loaded = {"demo": classifier} if loaded else {}
    runtime.classifiers.get = lambda name: runtime.classifiers._loaded.setdefault(name, classifier)  # type: ignore[method-assign]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_changed_classifier_does_not_score_the_rest_of_a_job(
    runtime: Runtime, database: Database, half_scored: int, loaded: bool, classifier: StubClassifier
) -> None:
    swap(runtime, Changed(), loaded=loaded)
    for _ in range(3):
        celery_tasks.score_task(2)
    assert revisions(database) == ["stub"]
    assert runtime.ability.classifier_revisions == {"demo": "changed"}
    assert waiting_scoring(database, runtime.ability) == []
    assert get_job(database, half_scored).served_classifier_revision == "stub"
    swap(runtime, classifier, loaded=True)
    celery_tasks.score_task(None)
    assert revisions(database) == ["stub", "stub"]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_changed_classifier_scores_no_edit_of_a_job(
    runtime: Runtime, database: Database, half_scored: int, loaded: bool, classifier: StubClassifier
) -> None:
    celery_tasks.score_task(2)
    decide(database, 1, "anna", "edit", text="kind")
    swap(runtime, Changed(), loaded=loaded)
    celery_tasks.score_task(None)
    assert waiting_requests(database, ["demo"], alone=False) == [1]  # charged with nothing
    swap(runtime, classifier, loaded=True)
    celery_tasks.score_task(None)
    assert revisions(database) == ["stub"] * 3
