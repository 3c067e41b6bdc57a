"""What texts copied from the training text is stored with them, where the model's folder says what that was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog
from sqlalchemy import select

from db.models import Output
from db.session.engine import Database
from tests.unit.worker.conftest import StubClassifier
from tests.unit.worker.stub_engine import StubEngine
from worker.evaluation.copied import FOLDER, SUFFIXES, CopiedIndex, index_in
from worker.runtime.runtime import Runtime
from worker.tasks import celery_tasks

TRAINING_TEXT = "It was the mill/ that the river drove."


def stored(database: Database) -> list[int | None]:
    with database.read() as connection:
        return list(connection.scalars(select(Output.copied_tokens).order_by(Output.id)))


def written_by(runtime: Runtime) -> None:
    celery_tasks.serve(runtime)
    celery_tasks.generate_task(None)
    runtime.stopping.set()
    runtime.leases.stop()


def test_a_tuned_models_texts_are_stored_with_their_longest_runs(
    make_runtime: Callable[..., Runtime], submit: Callable[..., int], database: Database, tmp_path: Path
) -> None:
    index = CopiedIndex.build(np.array([ord(c) for c in TRAINING_TEXT], np.uint16), tmp_path / FOLDER)
    submit("the mill", "xyz", safety="none")
    written_by(make_runtime(StubEngine(), StubClassifier(), training_text=index))
    assert stored(database) == [len("the mill/"), 1]  # the stub writes prompt/seed, and a slash stands there too


def test_of_other_models_nothing_is_known(
    make_runtime: Callable[..., Runtime], submit: Callable[..., int], database: Database
) -> None:
    submit("the mill", safety="none")
    written_by(make_runtime(StubEngine(), StubClassifier()))
    assert stored(database) == [None]


def test_a_model_can_be_served_without_its_index(tmp_path: Path) -> None:
    assert index_in(None) is None and index_in(tmp_path) is None
    CopiedIndex.build(np.array([1, 2, 3], np.uint16), tmp_path / FOLDER)
    assert index_in(tmp_path) is not None
    (tmp_path / FOLDER / SUFFIXES).write_bytes(b"1234")
    with structlog.testing.capture_logs() as logged:
        assert index_in(tmp_path) is None
    assert "not counted" in logged[0]["event"] and logged[0]["folder"] == str(tmp_path / FOLDER)
