"""Memory that is away for a while: it is no text's fault, and is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from contract.spec import JobStatus
from db.jobs.status import snapshot
from db.models import Batch, Output
from db.review.decisions.acts import decide
from db.session.engine import Database
from db.work.claims import claim_scoring
from db.work.recovery import mark_death
from tests.unit.worker.conftest import StubClassifier
from worker.engine import memory_blame
from worker.runtime.runtime import Runtime
from worker.tasks.celery_tasks import generate_task, score_task

Submit = Callable[..., int]
Score = Callable[..., list[dict[str, float]]]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_blame, "PAUSES", (0.01,) * 6)


@pytest.fixture
def starve(classifier: StubClassifier, monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[Any], int], None]:
    """Has the classifier find no memory for more than `room` texts for as long as `times` has something."""

    def make(times: Iterator[Any], room: int = 0) -> None:
        score: Score = classifier.score

        def starved(texts: list[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
            if len(texts) > room and next(times, None) is not None:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return score(texts, after_batch)

        monkeypatch.setattr(classifier, "score", starved)

    return make


def test_after_a_lack_of_memory_all_texts_are_scored_and_none_is_charged(
    runtime: Runtime, submit: Submit, database: Database, starve: Callable[..., None], short_pauses: None
) -> None:
    job = submit(*(f"p{i}" for i in range(4)))
    generate_task(None)
    starve(iter(range(8)))  # the four, two, one, and that one five times more
    score_task(None)
    done = snapshot(database, job)
    assert (done.status, done.scored, done.unscored) == (JobStatus.COMPLETED, 4, 0)
    with database.read() as connection:
        assert set(connection.scalars(select(Output.score_faults))) == {0}


def test_a_group_that_does_not_fit_into_memory_is_scored_in_parts(
    runtime: Runtime, submit: Submit, database: Database, starve: Callable[..., None], classifier: StubClassifier
) -> None:
    job = submit(*(f"p{i}" for i in range(8)), batch_size=8)
    generate_task(None)
    starve(iter(int, 1), room=2)
    score_task(None)
    assert classifier.groups == [2, 2, 2, 2]
    assert snapshot(database, job).scored == 8


def test_a_worker_that_is_told_to_leave_while_it_waits_for_memory_charges_no_text(
    runtime: Runtime, submit: Submit, database: Database, starve: Callable[..., None]
) -> None:
    submit("a", "b")
    generate_task(None)
    assert claim_scoring(database, runtime.ability, 60) is not None
    mark_death(database, runtime.worker, "was killed")  # a suspect's texts are charged before they are tried
    starve(iter(int, 1))
    scoring = threading.Thread(target=score_task, args=(None,))
    scoring.start()
    time.sleep(0.2)
    runtime.stopping.set()
    scoring.join(5)
    assert not scoring.is_alive()
    with database.read() as connection:
        assert set(connection.scalars(select(Output.score_faults))) == {0}
        assert connection.scalars(select(Batch.status)).all() == ["generated"]


def test_texts_that_find_no_memory_for_long_are_postponed_and_none_is_charged(
    runtime: Runtime, submit: Submit, database: Database, starve: Callable[..., None], short_pauses: None
) -> None:
    job = submit("a", "b")
    generate_task(None)
    starve(iter(range(50)))
    for _ in range(4):
        score_task(None)
        with database.read() as connection:
            assert connection.scalars(select(Batch.status)).all() == ["generated"]
            assert set(connection.scalars(select(Output.score_faults))) == {0}
    for _ in range(8):
        score_task(None)
    done = snapshot(database, job)
    assert (done.status, done.scored, done.unscored) == (JobStatus.COMPLETED, 2, 0)


def test_a_score_request_is_given_back_uncharged_when_its_worker_stops(
    runtime: Runtime, submit: Submit, database: Database, starve: Callable[..., None]
) -> None:
    submit("one")
    generate_task(None)
    score_task(None)
    decide(database, 1, "anna", "edit", text="kind")
    starve(iter(int, 1))
    serving = threading.Thread(target=score_task, args=("request-1",))
    serving.start()
    time.sleep(0.2)
    runtime.stopping.set()
    serving.join(5)
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT status, attempts FROM score_requests").all()
    assert rows == [("waiting", 0)]
