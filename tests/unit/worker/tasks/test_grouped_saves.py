"""What a worker saves together: each save waits for the disk, so what piled up behind one goes with the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from contract.spec import BatchStatus, JobStatus
from db.jobs.status import snapshot
from db.session.engine import Database
from db.work.outputs import save_scores, save_texts
from tests.unit.worker.conftest import StubClassifier
from tests.unit.worker.stub_engine import StubEngine
from worker.runtime.runtime import Runtime
from worker.tasks import generate, score
from worker.tasks.celery_tasks import generate_task, score_task

PROMPTS = 300


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine(slots=128, per_step=16)


def counted(save: Callable[..., None], sizes: list[int], before: Callable[[], object]) -> Callable[..., None]:
    """`save`, noting how many texts or verdicts it is given."""

    def saving(database: Database, claim: object, rows: list[Any], *rest: Any, **named: Any) -> None:
        sizes.append(len(rows))
        before()
        save(database, claim, rows, *rest, **named)

    return saving


def test_texts_that_piled_up_behind_a_slow_save_are_saved_together(
    runtime: Runtime, engine: StubEngine, submit: Callable[..., int], database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sizes: list[int] = []

    def until_all_are_written() -> None:
        end = time.monotonic() + 30
        while len(engine.seen) < PROMPTS and time.monotonic() < end:
            time.sleep(0.01)

    monkeypatch.setattr(generate, "save_texts", counted(save_texts, sizes, until_all_are_written))
    job = submit(*(f"p{i}" for i in range(PROMPTS)), batch_size=PROMPTS, safety="none")
    generate_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED
    assert sum(sizes) == PROMPTS and max(sizes) <= 256
    assert len(sizes) <= 4, sizes


def test_scores_of_several_groups_are_saved_together(
    runtime: Runtime, classifier: StubClassifier, submit: Callable[..., int], database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sizes: list[int] = []
    monkeypatch.setattr(score, "SAVE_SECONDS", 60.0)
    monkeypatch.setattr(score, "save_scores", counted(save_scores, sizes, lambda: None))
    job = submit(*(f"p{i}" for i in range(PROMPTS)), batch_size=PROMPTS)
    generate_task(None)
    score_task(None)
    assert classifier.groups == [128, 128, 44]
    assert sizes == [256, 44]
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_a_worker_told_to_stop_saves_the_scores_it_has(
    runtime: Runtime, classifier: StubClassifier, submit: Callable[..., int], database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(score, "SAVE_SECONDS", 60.0)
    job = submit(*(f"p{i}" for i in range(PROMPTS)), batch_size=PROMPTS)
    generate_task(None)
    scoring = classifier.score

    def told_to_stop(texts: list[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        runtime.stopping.set()
        return scoring(texts, after_batch)

    monkeypatch.setattr(classifier, "score", told_to_stop)
    score_task(None)
    assert snapshot(database, job).scored == 128
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT status, scored, lease_token FROM batches").one()
    assert tuple(found) == (BatchStatus.GENERATED, 128, None)


def test_scores_are_saved_before_texts_are_scored_one_by_one(
    runtime: Runtime, classifier: StubClassifier, submit: Callable[..., int], database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Scoring alone is what may take the process down; what was scored before does not go with it."""
    monkeypatch.setattr(score, "SAVE_SECONDS", 60.0)
    job = submit(*(f"p{i}" for i in range(PROMPTS)), "unscorable, and the longest of them", batch_size=PROMPTS + 1)
    generate_task(None)
    stored: list[int] = []
    monkeypatch.setattr(score, "count_scoring_attempt", lambda *_: stored.append(snapshot(database, job).scored))
    score_task(None)
    assert stored[0] == 256
    done = snapshot(database, job)
    assert (done.status, done.scored, done.unscored) == (JobStatus.COMPLETED, PROMPTS, 1)
