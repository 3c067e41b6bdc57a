"""A runtime around a stub engine, on a real database; Celery's tasks are called as functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.policy import ScoreBy
from contract.settings import Settings
from contract.spec import JobSpec, PromptRow, Provenance, SamplingSettings
from db.jobs.ingest import Ingest
from db.session.engine import Database, open_database
from tests.unit.worker.stub_engine import StubEngine
from worker.engine.load.loading import Loaded
from worker.evaluation.copied import CopiedIndex
from worker.runtime.classifiers import Classifiers
from worker.runtime.runtime import Runtime
from worker.tasks import celery_tasks


class StubClassifier:
    """Scores by what a text says; raises where it says so."""

    revision = "stub"

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.threads: set[int] = set()  # that scored here

    def score(self, texts: list[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        self.groups.append(len(texts))
        self.threads.add(threading.get_ident())
        if any("unscorable" in text for text in texts):
            raise RuntimeError("this text cannot be scored")
        return [{"toxicity": 0.9 if "rude" in text else 0.1} for text in texts]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    yield database
    database.close()


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


@pytest.fixture
def classifier() -> StubClassifier:
    return StubClassifier()


@pytest.fixture
def make_runtime(database: Database, tmp_path: Path) -> Callable[..., Runtime]:
    def make(
        engine: StubEngine,
        classifier: StubClassifier,
        worker: str = "w1",
        training_text: CopiedIndex | None = None,
        **settings: Any,
    ) -> Runtime:
        provenance = Provenance(
            model="demo", revision="r1", engine=engine.name, torch="0", device="cpu", isa="", dtype="fp32"
        )
        config = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0", service_seconds=1, **settings)
        classifiers = Classifiers(("demo",), "cpu")
        classifiers._loaded["demo"] = classifier  # type: ignore[assignment]
        loaded = Loaded(engine=engine, why_fallback=None, provenance=provenance, device="cpu")  # type: ignore[arg-type]
        runtime = Runtime(
            worker=worker,
            database=database,
            config=config,
            loaded=loaded,
            classifiers=classifiers,
            training_text=training_text,
        )
        # The queue is away here: refilling it is what the acceptance tests see.
        runtime.refill_generation = runtime.refill_scoring = runtime.refill_tunings = lambda: None  # type: ignore[method-assign]
        runtime.start()
        return runtime

    return make


@pytest.fixture
def runtime(make_runtime: Callable[..., Runtime], engine: StubEngine, classifier: StubClassifier) -> Iterator[Runtime]:
    runtime = make_runtime(engine, classifier)
    celery_tasks.serve(runtime)
    yield runtime
    runtime.stopping.set()
    runtime.leases.stop()


@pytest.fixture
def submit(database: Database) -> Callable[..., int]:
    """Submits prompts as a job and returns its id."""

    def submit(*prompts: str, batch_size: int = 4, n: int = 1, safety: str = "demo",
               score_by: ScoreBy = ScoreBy.WINDOW, **settings: Any) -> int:  # fmt: skip
        spec = JobSpec(
            name="test",
            fingerprint="|".join(prompts),
            model="demo",
            safety=safety,
            score_by=score_by,
            seed=7,
            settings=SamplingSettings(n=n, **settings),
            batch_size=batch_size,
        )
        ingest = Ingest(database, spec, again=True)
        ingest.write(PromptRow(position=i, prompt=prompt, n=n) for i, prompt in enumerate(prompts))
        return ingest.finish()

    return submit
