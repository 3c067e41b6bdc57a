"""What a job waits for, as `run`, `status`, `watch` and the page say it alike."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import update

from common.processes import Process
from contract.errors import ExitCode
from contract.settings import Settings
from contract.waiting.stack_state import WantedWorker
from contract.waiting.surroundings import Surroundings
from db.jobs.ingest import Ingest
from db.jobs.jobs import list_jobs
from db.jobs.status import snapshot
from db.jobs.waiting import waiting_for
from db.models import Job
from db.session.engine import Database, open_database
from db.work.claims import claim_generation, release_claim
from db.work.workers import register_worker
from inkmill.cli import run
from inkmill.local.redis_server import accepts_connections, start_server
from inkmill.local.stack import Stack, StackState
from tests.unit.db.mill import SPEC, Mill, rows, worker

GONE = "the model's folder is gone"
STARTS = "a worker that serves model demo; start one: inkmill worker --model demo --safety demo"


@pytest.fixture(autouse=True)
def nothing_is_known_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contract.waiting.surroundings.ANSWER_SECONDS", 1e-6)


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, redis_url="", database_url="", service_seconds=2)


@pytest.fixture
def opened(config: Settings) -> Iterator[Database]:
    database = open_database(config.sql_url)
    yield database
    database.close()


def has_stack(config: Settings, **more: Any) -> None:
    """This home's stack runs, and starts a worker for SPEC's jobs."""
    wanted = (WantedWorker(model=SPEC.model, safety=(SPEC.safety,)),)
    state = StackState(database="a hash", address=config.sql_address, daemon=Process.me(), workers=wanted, **more)
    Stack(config).write(state)


def has_worker(database: Database, name: str, state: str, error: str | None = None, **more: Any) -> None:
    there = {"host": "h", "pid": 1, "model": SPEC.model, "revision": "r", "dtype": "fp32", "device": "cpu"}
    register_worker(database, name, state=state, error=error, **there | {"classifiers": ["demo"]} | more)


@pytest.fixture
def server(config: Settings) -> Iterator[subprocess.Popen[bytes]]:
    server = start_server(config)
    assert accepts_connections(config, 10)
    yield server
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "its worker, which is starting"),
        ([("failed", GONE)], f"its worker, which is starting (the previous one: {GONE})"),
        ([("failed", GONE), ("starting", None)], f"its worker, which is starting (the previous one: {GONE})"),
        ([("failed", GONE), ("stopped", None)], "its worker, which is starting"),
        ([("failed", GONE), ("ready", None)], None),
    ],
)
def test_a_job_that_waits_for_its_worker_says_what_was_wrong_with_the_last_one(
    config: Settings,
    opened: Database,
    server: subprocess.Popen[bytes],
    states: list[tuple[str, str | None]],
    said: str | None,
) -> None:
    job = Mill(opened).submit(2)
    for number, (state, error) in enumerate(states):
        has_worker(opened, f"w{number}", state, error)
    has_stack(config)
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) == said


def test_a_job_that_a_ready_worker_does_not_take_says_whose_turn_it_waits_for(
    config: Settings, opened: Database, server: subprocess.Popen[bytes]
) -> None:
    job = Mill(opened).submit(2)
    has_worker(opened, "w", "ready")
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) is None
    with opened.write() as connection:
        connection.execute(update(Job).values(created_at=Job.created_at - 60))
    said = waiting_for(opened, snapshot(opened, job), Surroundings(config))
    assert said is not None and said.startswith("its turn: the worker that serves it (process 1 on h)")
    claim_generation(opened, worker("w"), 60)
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) is None


def test_without_a_stack_the_command_is_named_that_starts_the_worker(config: Settings, opened: Database) -> None:
    job = Mill(opened).submit(2)
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) == STARTS
    Stack(config).write(StackState(database="a hash", address="another one", daemon=Process.me()))
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) == STARTS


def test_a_stack_whose_worker_has_another_revision_by_now_does_not_hide_that(
    config: Settings, opened: Database, server: subprocess.Popen[bytes]
) -> None:
    mill = Mill(opened)
    job = mill.submit(4)
    has_stack(config)
    release_claim(opened, mill.claim(worker("before", revision="old")))
    has_worker(opened, "now", "ready", revision="new")
    said = waiting_for(opened, snapshot(opened, job), Surroundings(config))
    assert said is not None and "revision old" in said and f"inkmill retry {job} --any-worker" in said


def test_a_redis_that_does_not_run_is_a_reason_too(config: Settings, opened: Database) -> None:
    job = Mill(opened).submit(2)
    has_worker(opened, "w", "ready")
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) is None  # another home's, for all we know
    has_stack(config, redis_down="it exited with status 1: no room")
    said = waiting_for(opened, snapshot(opened, job), Surroundings(config))
    assert said == "the local Redis, which does not run: it exited with status 1: no room"
    elsewhere = Settings(home=config.home, redis_url="redis://:secret@127.0.0.1:1/0", service_seconds=2)
    said = waiting_for(opened, snapshot(opened, job), Surroundings(elsewhere))
    assert said is not None and "127.0.0.1:1" in said and "does not answer" in said and "secret" not in said


def test_of_a_redis_and_a_worker_that_are_missing_both_are_named(config: Settings, opened: Database) -> None:
    job = Mill(opened).submit(2)
    elsewhere = Settings(home=config.home, redis_url="redis://127.0.0.1:1/0", service_seconds=2)
    said = waiting_for(opened, snapshot(opened, job), Surroundings(elsewhere))
    assert said is not None and said.startswith("Redis at redis://:**@127.0.0.1:1/0, which does not answer")
    assert said.endswith(f"; and for {STARTS}")


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("CONFIG", "SET", "requirepass", "another"), "rejects the password"),
        (("CONFIG", "SET", "maxmemory", "1"), "has no memory left for messages"),
        (("ACL", "SETUSER", "default", "-@write"), "does not allow this user to write messages"),
        (("REPLICAOF", "127.0.0.1", "1"), "is a read-only replica"),
    ],
)
def test_a_redis_that_refuses_is_named_with_what_to_do(
    config: Settings, opened: Database, server: subprocess.Popen[bytes], order: tuple[str, ...], said: str
) -> None:
    job = Mill(opened).submit(2)
    has_worker(opened, "w", "ready")
    has_stack(config)
    assert waiting_for(opened, snapshot(opened, job), Surroundings(config)) is None
    client = redis.Redis(unix_socket_path=str(config.redis_socket), password=config.redis_password)
    client.execute_command(*order)
    found = waiting_for(opened, snapshot(opened, job), Surroundings(config))
    assert found is not None and f" {said}" in found and found.count("\n") == 0
    assert config.redis_password not in found


def test_a_job_that_is_being_submitted_waits_for_no_worker(config: Settings, opened: Database) -> None:
    ingest = Ingest(opened, SPEC)
    ingest.write(rows(3))
    said = waiting_for(opened, snapshot(opened, ingest.job_id), Surroundings(config))
    assert said is not None and said.startswith("the command that submits it;")
    ingest.finish()


def test_a_job_whose_producer_was_killed_waits_for_the_file_to_be_submitted_again(
    config: Settings, opened: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest = Ingest(opened, SPEC, lease=60)
    ingest.write(rows(3))
    with opened.write() as connection:
        connection.execute(update(Job).values(ingest_until=1.0))
    said = waiting_for(opened, snapshot(opened, ingest.job_id), Surroundings(config))
    assert said == (
        "the command that submitted it, which was killed before it had finished; submit the file again, or remove "
        f"what it left: inkmill cancel {ingest.job_id}"
    )
    monkeypatch.setattr("inkmill.startup.settings", lambda: config)
    assert run(["watch", str(ingest.job_id)]) == ExitCode.FAILED
    assert said in capsys.readouterr().out
    assert run(["cancel", str(ingest.job_id)]) == ExitCode.FAILED  # nothing of it was a job yet
    assert "its command died. What it left has been removed" in capsys.readouterr().err
    assert list_jobs(opened) == []


def test_nothing_is_asked_for_a_job_that_goes_on(config: Settings, opened: Database) -> None:
    job = Mill(opened).submit(2)
    claim_generation(opened, worker("w"), 60)

    class Unasked:
        redis = property(lambda self: pytest.fail("asked"))

        def starts_worker_for(self, job: object) -> bool:
            pytest.fail("asked")

    assert waiting_for(opened, snapshot(opened, job), Unasked()) is None
