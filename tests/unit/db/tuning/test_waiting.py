"""What a tuning waits for, and what a job is told whose only worker trains."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from contract.tunings.order import TuningOrder
from db.jobs.status import snapshot
from db.jobs.waiting import waiting_for
from db.models import Worker
from db.session.engine import Database
from db.tuning import waiting as tuning_waiting
from db.tuning.claims import claim_tuning, pause_tuning
from db.tuning.progress import save_progress
from db.tuning.tunings import NewTuning, find_tuning, insert_tuning, retry_tuning
from db.tuning.waiting import tuning_waits_for
from db.work.workers import record_heartbeat, register_worker
from tests.unit.db.mill import Mill


class Around:
    """A machine whose Redis and stack are as is said."""

    def __init__(self, *, brings: bool = False, redis: str | None = None) -> None:
        self.redis, self._brings = redis, brings

    def starts_worker_for_tuning(self, device: str) -> bool:
        return self._brings


def add(database: Database, device: str = "auto", name: str = "tales") -> int:
    order = TuningOrder(name=name, base="gpt2").to_json()
    return insert_tuning(database, NewTuning(name=name, base="gpt2", device=device, order=order, folder=name))


def worker(database: Database, name: str, state: str = "ready", device: str = "cpu", model: str = "demo") -> None:
    register_worker(database, name, host="mill", pid=7, state=state, model=model, dtype="fp32", device=device,
                    classifiers=["demo"])  # fmt: skip


def said(database: Database, number: int = 1, around: Around | None = None) -> str | None:
    return tuning_waits_for(database, find_tuning(database, number), around)


def test_without_a_worker_it_names_the_command_that_starts_one(database: Database) -> None:
    add(database)
    add(database, device="cuda", name="songs")
    worker(database, "w1")
    record_heartbeat(database, "w1", state="stopped")
    assert said(database) == "a worker that can train it; start one: inkmill worker --only-tunings"
    assert said(database, 2) is not None and str(said(database, 2)).endswith("--only-tunings --device cuda")
    assert said(database, around=Around(brings=True)) == "its worker, which is starting"


def test_a_worker_that_does_not_see_the_corpus_is_named_with_its_reason(database: Database) -> None:
    add(database)
    worker(database, "w1")
    record_heartbeat(database, "w1", error="cannot take t1: its corpus should be in /m/.tunings/tales")
    assert said(database) == (
        "a worker that has its corpus: the one on mill cannot take t1: its corpus should be in /m/.tunings/tales"
    )
    worker(database, "w2")
    assert said(database) is None


def test_the_second_one_waits_for_the_first(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    add(database)
    add(database, name="songs")
    worker(database, "w1", state="tuning")
    claim = claim_tuning(database, "w1", "cpu", 60)
    assert claim is not None
    save_progress(database, claim, {"step": 40, "steps": 2000})
    assert said(database) is None
    waits = "its turn: the worker that can train it trains t1 (tales, step 40 of 2,000)"
    assert said(database, 2) == waits
    worker(database, "w2")
    assert said(database, 2) is None
    monkeypatch.setattr(tuning_waiting, "UNTAKEN_SECONDS", -1.0)
    assert "has not taken it yet" in str(said(database, 2))
    assert said(database, 2, Around(redis="Redis at x, which is away")) == "Redis at x, which is away"


def test_one_whose_worker_is_silent_names_the_command_that_starts_another(database: Database) -> None:
    add(database)
    worker(database, "w1", state="tuning")
    claim_tuning(database, "w1", "cpu", 60)
    assert said(database) is None
    with database.write() as connection:
        connection.execute(update(Worker).values(last_seen=Worker.last_seen - 60))
    assert str(said(database)).startswith("its worker (process 7 on mill), which gives no sign of life")


def test_a_paused_one_says_why_until_it_is_retried(database: Database) -> None:
    add(database)
    claim = claim_tuning(database, "w1", "cpu", 60)
    assert claim is not None
    pause_tuning(database, claim, "no space left; make room: inkmill retry t1", "disk_full")
    assert said(database) == "no space left; make room: inkmill retry t1"
    retry_tuning(database, 1)
    worker(database, "w1")
    assert said(database) is None


def test_a_job_is_told_that_its_only_worker_trains_and_for_how_long(mill: Mill) -> None:
    job = mill.submit(4)
    add(mill.database)
    register_worker(mill.database, "w1", host="mill", pid=7, state="tuning", model=snapshot(mill.database, job).model,
                    dtype="fp32", device="cpu", classifiers=["demo"])  # fmt: skip
    claim = claim_tuning(mill.database, "w1", "cpu", 60)
    assert claim is not None
    save_progress(mill.database, claim, {"step": 40, "steps": 2000, "left": [3600, 4000, 7200]})
    told = waiting_for(mill.database, snapshot(mill.database, job))
    assert told is not None and told.startswith(
        "the worker that serves it (process 7 on mill): it trains t1 (tales, step 40 of 2,000), for 60 min to 2 h 00 "
        "min more; start another one: inkmill worker --model "
    ), told
