"""`run`, `export`, `report` and `status` of a job whose flag policy was changed since it was submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.settings import Settings
from db.jobs import reflag
from db.jobs.jobs import JobRow, get_job
from db.jobs.reflag import reflag_job, unfinished_reflags
from db.jobs.status import JobSnapshot
from db.session.engine import open_database
from inkmill.cli import run
from inkmill.run import RunCommand
from producer.submit import SubmitOptions
from tests.unit.inkmill.conftest import DEMO, Told, finish


def kill_a_reflag(monkeypatch: pytest.MonkeyPatch, **thresholds: float) -> None:
    """A reflag of job 1 that ends before it comes to any output."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    database = open_database(Settings().sql_url)
    with monkeypatch.context() as patched:
        patched.setattr(reflag, "_advance", die)
        with pytest.raises(KeyboardInterrupt):
            reflag_job(database, 1, thresholds=thresholds, blocklist=None)
    assert unfinished_reflags(database)
    database.close()


def flags(path: Path) -> list[bool]:
    return [json.loads(line)["flagged"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "words",
    [("export", "1", "-o", "o.jsonl"), ("run", "p.jsonl", *DEMO, "--threshold", "toxicity=0.05", "-o", "o.jsonl")],
)
def test_no_export_is_made_by_two_policies(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    finish(told, "--threshold", "toxicity=0.05")
    told("reflag", "1", "--threshold", "toxicity=0.99", "--yes")
    kill_a_reflag(monkeypatch, toxicity=0.05)
    assert "job 1: finishing an interrupted reflag first" in told(*words)
    assert flags(folder / "o.jsonl") == [True, True]
    assert "reflag" not in told(*words)


def test_a_report_waits_for_the_policy_and_status_tells_of_it(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(told)
    kill_a_reflag(monkeypatch, toxicity=0.05)
    assert run(["status", "1"]) == 0
    assert "  reflag   running or interrupted" in capsys.readouterr().out
    assert "finishing an interrupted reflag" in told("report", "1")
    assert "2 flagged texts left to review" in (folder / "report-1.html").read_text()
    assert run(["status", "1"]) == 0
    assert "  reflag   " not in capsys.readouterr().out


def test_a_run_does_not_take_up_a_job_that_flags_by_another_policy(told: Told, folder: Path) -> None:
    command = ("run", "p.jsonl", *DEMO, "--threshold", "toxicity=0.0512345678", "--only", "clean", "-o", "o.jsonl")
    finish(told, "--threshold", "toxicity=0.0512345678")
    told("reflag", "1", "--threshold", "toxicity=0.99", "--threshold", "insult=0.5", "--yes")
    said = told(*command, code=2)
    assert "job 1 was submitted from this file, but has been reflagged since: " in said
    assert not (folder / "o.jsonl").exists()
    assert (
        "its threshold for toxicity is 0.99, this command's is 0.0512345678; its threshold for insult is 0.5, this"
        in said
    )
    assert "reflag 1 --reset-thresholds --threshold toxicity=0.0512345678', then this command again" in said
    assert "export 1 -o FILE' exports the job as it is" in said
    told("reflag", "1", "--reset-thresholds", "--threshold", "toxicity=0.0512345678")
    told(*command)
    assert flags(folder / "o.jsonl") == []


@pytest.mark.parametrize(("submitted", "later"), [("", "mine"), ("mine", ""), ("mine", "your")])
def test_a_run_does_not_take_up_a_job_that_got_another_blocklist(
    told: Told, folder: Path, submitted: str, later: str
) -> None:
    (folder / "words").write_text(submitted)
    (folder / "later").write_text(later)
    finish(told, "--blocklist", "words")
    told("reflag", "1", "--blocklist", "later", "--yes")
    said = told("run", "p.jsonl", *DEMO, "--blocklist", "words", code=2)
    assert "reflagged since: it has another blocklist. To go back" in said
    back = "words" if submitted else "/dev/null"
    assert f"reflag 1 --reset-thresholds --blocklist {back.replace('words', 'FILE')}', then this" in said
    told("reflag", "1", "--reset-thresholds", "--blocklist", back, "--yes")
    told("run", "p.jsonl", *DEMO, "--blocklist", "words")


def test_a_run_says_that_a_job_given_to_any_worker_runs_elsewhere_than_it_says(told: Told) -> None:
    finish(told, "--dtype", "fp32", "--device", "cpu")
    told("retry", "1", "--any-worker")
    said = told("run", "p.jsonl", *DEMO, "--dtype", "fp32", "--device", "cpu")
    assert "note: job 1 may now run on any worker; it is no longer bound to --device cpu and --dtype fp32" in said


def test_a_run_whose_job_was_reflagged_while_it_followed_it_exports_by_no_other_policy(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(told)
    follow = RunCommand._follow

    def reflag_meanwhile(self: RunCommand, job: JobRow) -> JobSnapshot:
        reflag_job(self._database, job.id, thresholds={"toxicity": 0.99}, blocklist=None)
        return follow(self, job)

    monkeypatch.setattr(RunCommand, "_follow", reflag_meanwhile)
    assert "its threshold for toxicity is 0.99, this command's is 0.7" in told("run", "p.jsonl", *DEMO, code=2)
    assert not (folder / "p.jsonl.out.jsonl").exists()


def test_a_run_resumes_its_job_if_it_was_paused(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told("submit", "p.jsonl", *DEMO)
    told("pause", "1")
    database = open_database(Settings().sql_url)
    order = SubmitOptions(model="demo", default_model="demo", safety="demo", name="another name")
    job = RunCommand(Settings(), database, order)._resume(get_job(database, 1))
    assert job.status == "queued"
    said = capsys.readouterr().err
    assert "it is paused" in said and "job 1: resumed" in said and "keeps its name, p.jsonl" in said
    database.close()


def test_how_texts_are_scored_is_part_of_the_job(
    told: Told, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(told)
    told("submit", "p.jsonl", *DEMO, "--score-by", "sentence", "--name", "p.jsonl")  # another job
    assert run(["jobs", "--json"]) == 0
    differ = {job["id"]: job["differs_in"] for job in json.loads(capsys.readouterr().out)}
    assert differ == {1: {"score_by": "window"}, 2: {"score_by": "sentence"}}
    monkeypatch.setenv("INKMILL_SCORE_BY", "sentence")
    assert "already submitted" in told("submit", "p.jsonl", *DEMO, code=2)
    told("submit", "p.jsonl", "--model", "demo", "--safety", "none")
    monkeypatch.delenv("INKMILL_SCORE_BY")
    assert run(["status", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["score_by"] == "sentence"
    assert run(["status", "2"]) == 0 and "safety demo by sentence" in capsys.readouterr().out


def test_a_run_does_not_take_up_a_job_that_is_scored_otherwise_by_now(told: Told, folder: Path) -> None:
    finish(told)
    told("rescore", "1", "--score-by", "sentence")
    said = told("run", "p.jsonl", *DEMO, code=2)
    assert "has been rescored since: it is scored by sentence, this command's is window. To go back" in said
    assert "rescore 1 --score-by window', then this command again" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--score-by", "words"), "--score-by: must be window or sentence, not 'words'"),
        (("--score-by", ""), "--score-by: must be window or sentence, not ''"),
        (("--safety", "none", "--score-by", "sentence"), "--safety none: nothing will be scored"),
    ],
)
def test_what_cannot_be_scored_by_is_refused(told: Told, words: tuple[str, ...], problem: str) -> None:
    assert problem in told("submit", "p.jsonl", *DEMO, *words, code=2)
