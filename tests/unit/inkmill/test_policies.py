"""`run`, `export`, `report` and `status` of a job whose flag policy was changed since it was submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.settings import Settings
from db import reflag
from db.reflag import half_reflagged, reflag_job
from db.session import open_database
from inkmill.cli import run
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
    assert half_reflagged(database)
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
    told("reflag", "1", "--threshold", "toxicity=0.99")
    kill_a_reflag(monkeypatch, toxicity=0.05)
    assert "job 1: its new flag policy is not applied to all outputs yet; that comes first" in told(*words)
    assert flags(folder / "o.jsonl") == [True, True]
    assert "policy" not in told(*words)


def test_a_report_waits_for_the_policy_and_status_tells_of_it(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(told)
    kill_a_reflag(monkeypatch, toxicity=0.05)
    assert run(["status", "1"]) == 0
    assert "  reflag   under way, or killed half way" in capsys.readouterr().out
    assert "that comes first" in told("report", "1")
    assert "2 flagged texts are left" in (folder / "report-1.html").read_text()
    assert run(["status", "1"]) == 0
    assert "reflag" not in capsys.readouterr().out
