"""The tables that migrations make are the tables that the models declare, whoever opens the database first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from contract.errors import UsageError
from contract.failures import FailureCode, failure_code
from contract.review import Filter, StateFilter
from db.jobs.reflag import Reflagged, reflag_job, unfinished_reflags
from db.migrations import HEAD
from db.migrations.apply import config
from db.models import Base
from db.review.queue import read_page
from db.session.engine import Database, open_database

ROOT = Path(__file__).parents[4]
SEARCHED = ("review_words", "ix_review_words", "output_words", "ix_output_words")
OPENER = """
import sys, time
from db.session.engine import open_database
print("ready", flush=True)
sys.stdin.readline()
database = open_database(sys.argv[1])
with database.read() as connection:
    print(connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar())
database.close()
"""


def test_migrated_and_declared_tables_are_the_same(database: Database) -> None:
    def compared(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        # The words that are searched have tables of the databases' own kinds; `test_search` reads them.
        return not (name or "").startswith(SEARCHED)

    options = {"compare_type": True, "compare_server_default": True, "include_object": compared}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_revision_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_opening_twice_changes_nothing(empty_url: str) -> None:
    for _ in range(2):
        database = open_database(empty_url)
        with database.read() as connection:
            there = {name for name in inspect(connection).get_table_names() if not name.startswith(SEARCHED)}
            assert there == {*Base.metadata.tables, "alembic_version"}
        database.close()


def test_ten_processes_that_open_a_new_database_at_once_do_not_collide(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, empty_url], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, results
    assert [out for out, _ in results] == ["0\n"] * 10


def test_an_up_to_date_database_is_opened_without_alembic(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    program = "import sys, db.session.engine as s; s.open_database(sys.argv[1]); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout == "False\n"


def test_a_database_of_a_newer_version_is_refused_in_words(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="newer"):
        open_database(database.url.render_as_string(hide_password=False))


FIRST_ROWS = """
INSERT INTO jobs (id, name, status, fingerprint, model, safety, seed, settings, thresholds, blocklist, on_flag,
  batch_size, device, dtype, created_at)
  VALUES (1, 'old', 'completed', 'f', 'demo', 'demo', 1, '{}', '{}', '[]', 'keep', 2, 'auto', 'auto', 1);
INSERT INTO batches (id, job_id, status, prompts, outputs, done, generated, scored, flagged)
  VALUES (1, 1, 'done', 3, 3, 3, 3, 3, 2);
INSERT INTO provenances (id, model, revision, engine, torch, device, isa, dtype)
  VALUES (1, 'm', 'r', 'e', 't', 'd', 'i', 'f');
INSERT INTO prompts (id, job_id, batch_id, position, n, status, prompt) VALUES
  (1, 1, 1, 0, 1, 'done', 'harbour'), (2, 1, 1, 1, 1, 'done', 'b'), (3, 1, 1, 2, 1, 'done', 'c');
INSERT INTO outputs (id, prompt_id, job_id, provenance_id, sample_index, text, finish_reason, tokens,
  prompt_tokens, seed, created_at, safety, flagged, flag_reasons, top_score) VALUES
  (1, 1, 1, 1, 0, 'rude', 'stop', 1, 1, 1, 1, 'scored', true, '["toxicity"]', 0.8),
  (2, 2, 1, 1, 0, 'kind', 'stop', 1, 1, 1, 1, 'scored', false, NULL, 0.1),
  (3, 3, 1, 1, 0, 'lost', 'stop', 1, 1, 1, 1, 'unscored', true, '["unscored"]', NULL);
INSERT INTO scores (output_id, revision, classifier, classifier_revision, toxicity, created_at) VALUES
  (1, 0, 'demo', 'c', 0.8, 1), (2, 0, 'demo', 'c', 0.1, 1);
"""


def make_old(url: str, revision: str, monkeypatch: pytest.MonkeyPatch, rows: str = FIRST_ROWS) -> None:
    """A database of an earlier revision, with those rows."""

    def no_further(connection: Any) -> None:
        configuration = config()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)

    with monkeypatch.context() as patched:
        patched.setattr("db.migrations.apply.upgrade", no_further)
        old = open_database(url)
    with old.write() as connection:
        for statement in rows.split(";\n"):
            if statement.strip():
                connection.execute(text(statement.replace(":", "\\:")))
    old.close()


def test_a_job_of_before_reflags_were_carried_on_is_whole_and_may_be_flagged_anew(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(empty_url, "0002", monkeypatch)
    database = open_database(empty_url)
    assert unfinished_reflags(database) == {}
    assert reflag_job(database, 1, thresholds={"toxicity": 0.05}, blocklist=None) == Reflagged(flagged=3, changed=1)
    assert unfinished_reflags(database) == {}
    database.close()


def test_a_database_of_before_reviewing_comes_into_the_queue_whole(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(empty_url, "0001", monkeypatch)
    database = open_database(empty_url)
    rows = read_page(database, Filter()).rows
    assert [(row.output_id, row.reasons, row.scores) for row in rows] == [
        (1, ("toxicity",), {"toxicity": 0.8}),
        (3, ("unscored",), {}),
    ]
    assert [row.output_id for row in read_page(database, Filter(query="harbour rude")).rows] == [1]
    assert [row.output_id for row in read_page(database, Filter(reason="unscored")).rows] == [3]
    database.close()


def test_a_database_of_before_everything_was_searched_finds_all_its_texts(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(empty_url, "0011", monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("db.session.engine._migrate", lambda database: None)
        old = open_database(empty_url)
    with old.write() as connection:
        for statement in QUEUED.split(";\n"):
            connection.execute(text(statement.replace(":", "\\:")))
    old.close()
    database = open_database(empty_url)

    def found(query: str, state: StateFilter = StateFilter.ALL) -> list[int]:
        return sorted(row.output_id for row in read_page(database, Filter(query=query, state=state)).rows)

    assert found("kind") == found("tea") == [2]
    assert found("harbour rude") == found("order-1", StateFilter.PENDING) == [1]
    assert found("mild") == found("mild", StateFilter.WAITING) == found("lost") == [3]
    database.close()


QUEUED = """UPDATE prompts SET custom_id = 'order-1' WHERE id = 1;
UPDATE prompts SET metadata = '{"topic": "tea"}' WHERE id = 2;
INSERT INTO reviews (output_id, job_id, state, flagged, top_score, lot) VALUES (1, 1, 'pending', true, 0.8, 1);
INSERT INTO decisions (id, output_id, reviewer, action, from_state, to_state, text, revision, flagged, created_at)
  VALUES (7, 3, 'anna', 'edit', 'pending', 'waiting', 'mild', 1, true, 5);
INSERT INTO reviews (output_id, job_id, state, flagged, top_score, lot, revision, decision_id, decided_by, version)
  VALUES (3, 1, 'waiting', true, -1, 1, 1, 7, 'anna', 7)"""


def test_a_producer_of_before_leases_keeps_the_minute_that_it_had(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(empty_url, "0003", monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("db.session.engine._migrate", lambda database: None)
        old = open_database(empty_url)
    with old.write() as connection:
        connection.execute(text("UPDATE jobs SET status = 'ingesting', producer = 'h', producer_seen = 1000"))
    old.close()
    database = open_database(empty_url)
    with database.read() as connection:
        assert connection.execute(text("SELECT ingest_until, owner FROM jobs")).one() == (1060, None)
    database.close()


OLD_REASONS = {
    "the prompt has 900 tokens and max_new_tokens is 200: together 1100, more than the model's 1024 positions; shorten":
        FailureCode.TOO_LONG,
    "the worker process was killed 3 times while it generated this prompt alone": FailureCode.KILLED_WORKER,
    "its stored settings cannot be used: n": FailureCode.BAD_SETTINGS,
    "'x' has half of a surrogate pair at character 3; remove it": FailureCode.BAD_PROMPT,
    "OutOfMemoryError: CUDA": FailureCode.OUT_OF_MEMORY,
    "RuntimeError: odd": FailureCode.UNKNOWN,
}  # fmt: skip


def _literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def test_prompts_that_died_before_there_were_codes_have_one(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = OLD_REASONS | {None: FailureCode.UNKNOWN}
    cells = (f"({n}, 1, 1, {n}, 1, 'dead', 'p', {_literal(reason)})" for n, reason in enumerate(old, 10))
    dead = f"""
UPDATE batches SET dead = {len(old)};
INSERT INTO prompts (id, job_id, batch_id, position, n, status, prompt, reason) VALUES {", ".join(cells)};
"""
    make_old(empty_url, "0011", monkeypatch, FIRST_ROWS + dead)
    database = open_database(empty_url)
    with database.read() as connection:
        found = connection.execute(text("SELECT reason, code FROM prompts WHERE status = 'dead' ORDER BY id"))
        assert {reason: failure_code(code) for reason, code in found} == old
    database.close()
