"""What the lists of jobs and workers and the status of a job say, as they are typed."""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.settings import Settings
from db.insights.pace import read_pace
from db.jobs.status import snapshots
from db.session.engine import Database, open_database
from db.work.workers import record_heartbeat, register_worker
from inkmill.cli import run
from inkmill.show.display import jobs_table
from inkmill.show.terminal import Terminal
from tests.unit.inkmill.conftest import DEMO, Told, finish, work

Shown = Callable[..., str]


@pytest.fixture
def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Runs a command that has to succeed. Returns what it printed on standard output."""

    def showing(*words: str) -> str:
        assert run(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return showing


def records(printed: str) -> Any:
    return json.loads(printed)


def stored() -> Database:
    return open_database(Settings().sql_url)


def row_of(table: str, job: int) -> str:
    (row,) = [line for line in table.splitlines() if line.split()[:1] == [str(job)]]
    return row


def test_dead_and_cancelled_prompts_and_the_time_a_job_took_are_in_the_list(told: Told, shown: Shown) -> None:
    finish(told, dead={0: "it is too long"})
    told("submit", "p.jsonl", *DEMO, "--again")
    told("cancel", "2")
    table = shown("jobs")
    assert {"dead", "cancelled", "time"} <= set(table.splitlines()[0].split())
    header = table.splitlines()[0]
    done, dead = row_of(table, 1), header.index("dead")
    assert "1/2" in done and done[dead : dead + 4].strip() == "1" and " s " in done
    cancelled = header.index("cancelled")
    assert row_of(table, 2)[cancelled : cancelled + 9].strip() == "2"


def test_jobs_of_one_file_are_told_apart_by_what_differs(told: Told, shown: Shown) -> None:
    told("submit", "p.jsonl", *DEMO, "--temperature", "0.8")
    told("submit", "p.jsonl", *DEMO, "--temperature", "1.2", "--threshold", "insult=0.5")
    Path("q.jsonl").write_text('{"prompt": "other"}\n')
    told("submit", "q.jsonl", *DEMO)
    table = shown("jobs")
    assert "temperature 0.8, thresholds default" in row_of(table, 1)
    assert "temperature 1.2, thresholds insult=0.5" in row_of(table, 2)
    assert "temperature" not in row_of(table, 3)
    differ = {job["id"]: job["differs_in"] for job in records(shown("jobs", "--json"))}
    assert differ[2] == {"temperature": 1.2, "thresholds": {"insult": 0.5}}
    assert differ[3] == {}


def test_jobs_that_differ_in_nothing_else_are_told_apart_by_their_seeds(told: Told, shown: Shown) -> None:
    for seed in ("7", "8"):
        told("submit", "p.jsonl", "--model", "demo", "--safety", "demo", "--seed", seed)
    assert "seed 7" in row_of(shown("jobs"), 1) and "seed 8" in row_of(shown("jobs"), 2)


def test_a_list_of_files_that_all_differ_has_no_column_for_it(told: Told, shown: Shown) -> None:
    told("submit", "p.jsonl", *DEMO)
    assert "differs" not in shown("jobs")


def test_on_a_narrow_terminal_a_long_name_is_shortened_and_nothing_else(told: Told) -> None:
    told("submit", "p.jsonl", *DEMO, "--name", "n" * 120)
    database = stored()
    narrow = Terminal(width=80, file=io.StringIO())
    narrow.print(jobs_table([(job, read_pace(database, job)) for job in snapshots(database)], {}), soft_wrap=False)
    said = narrow.file.getvalue()  # type: ignore[attr-defined]
    assert all(word in said for word in ("nnn…", "queued", "0/2", "demo", "tokens/s", "created"))
    assert max(map(len, said.splitlines())) <= 80


def test_a_job_has_the_name_it_was_given(told: Told, shown: Shown) -> None:
    told("submit", "p.jsonl", *DEMO, "--name", "night shift, café")
    assert records(shown("status", "1", "--json"))["name"] == "night shift, café"
    assert "already submitted" in told("submit", "p.jsonl", *DEMO, "--name", "another", code=2)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "is empty"), ("  ", "is empty"), ("a\x1b[2Jb", "control"), ("a\nb", "control"), ("x" * 201, "at most 200")],
)
def test_a_name_that_cannot_be_shown_is_refused(told: Told, name: str, problem: str) -> None:
    said = told("submit", "p.jsonl", *DEMO, "--name", name, code=2)
    assert "--name" in said and problem in said and "\x1b" not in said


def test_a_job_is_paused_and_resumed(told: Told, shown: Shown) -> None:
    told("submit", "p.jsonl", *DEMO)
    assert "paused" in shown("pause", "1") and "inkmill resume 1" in shown("status", "1")
    work()
    assert records(shown("status", "1", "--json"))["outputs"]["generated"] == 0
    assert "is paused; go on with it: inkmill resume 1" in told("retry", "1", code=2)
    assert records(shown("resume", "1", "--json"))["status"] == "queued"
    work()
    assert records(shown("status", "1", "--json"))["status"] == "completed"
    assert "already completed" in told("pause", "1", code=2)


def test_the_status_says_who_did_what(told: Told, shown: Shown) -> None:
    finish(told)
    told("reflag", "1", "--threshold", "toxicity=0.01", "--yes")
    told("export", "1", "-o", "x.csv", "--only", "clean", "--allow-empty")
    reflag, export = records(shown("status", "1", "--json"))["record"]
    assert (reflag["what"], reflag["who"]) == ("reflag", getpass.getuser())
    assert (reflag["from"]["thresholds"], reflag["to"]["thresholds"]) == ({}, {"toxicity": 0.01})
    assert (export["what"], export["from"]) == ("export", None)
    assert export["to"]["path"] == str(Path("x.csv").resolve())
    assert (export["to"]["format"], export["to"]["only"], export["to"]["rows"]) == ("csv", ["clean"], 0)
    assert reflag["at"] <= export["at"] and reflag["at"].endswith("Z")
    assert f"2 acts, the last: export by {getpass.getuser()}" in shown("status", "1")


def test_an_export_that_is_refused_is_not_recorded(told: Told, shown: Shown) -> None:
    finish(told)
    told("export", "1", "-o", "x.jsonl", "--only", "approved", code=2)
    assert records(shown("status", "1", "--json"))["record"] == []


def test_decisions_without_a_name_say_whose_they_are(told: Told) -> None:
    finish(told)
    said = told("decide", "1", "approve")
    assert f"deciding as {getpass.getuser()}, the system user; --as NAME" in said
    assert "system user" not in told("decide", "2", "approve", "--as", "anna")


def test_workers_are_listed_with_what_they_serve(told: Told, shown: Shown) -> None:
    assert "inkmill worker" in told("workers")
    database = stored()
    common = {"host": "h", "pid": 1, "dtype": "bf16", "device": "cpu", "classifiers": ["demo"]}
    register_worker(database, "w-ready", state="ready", model="demo", **common)
    register_worker(database, "w-failed", state="failed", model="gpt2", error="no such folder", **common)
    register_worker(database, "w-stopped", state="stopped", model="demo", **common)
    register_worker(database, "w-silent", state="ready", model="demo", **common)
    slow = {"why_fallback": "its layers are run twice", "tokens_per_second": 123.4, "memory_mb": 900.0}
    record_heartbeat(database, "w-ready", **slow)
    register_worker(database, "w-gone", state="ready", model="demo", **common)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE workers SET last_seen = last_seen - 100 WHERE id = 'w-silent'")
        connection.exec_driver_sql("UPDATE workers SET last_seen = last_seen - 90000 WHERE id = 'w-gone'")
    database.close()
    table = shown("workers")
    assert "w-ready" in table and "123" in table and "900 MB" in table
    assert "w-failed" in table and "w-silent" in table and "w-stopped" not in table and "w-gone" not in table
    said = told("workers")
    assert "w-failed: no such folder" in said
    assert "w-ready: one text at a time, because its layers are run twice" in said
    assert [one["why_fallback"] for one in records(shown("workers", "--json")) if one["why_fallback"]] == [
        "its layers are run twice"
    ]
    states = {worker["id"]: worker["state"] for worker in records(shown("workers", "--all", "--json"))}
    assert states == {"w-ready": "ready", "w-failed": "failed", "w-stopped": "stopped", "w-silent": "silent",
                      "w-gone": "silent"}  # fmt: skip
