"""Worthless texts, where a person or a script looks at a job: its status, its summary, its report, its export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.settings import Settings
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.inkmill.conftest import DEMO, Told
from tests.unit.producer.exports.conftest import Mill

TEXTS = ["\n", " it goes on and on and on," * 3]


@pytest.fixture
def job(told: Told) -> None:
    """One prompt of which a text is empty, and one of which it repeats itself; both were cut."""
    told("submit", "p.jsonl", *DEMO)
    database = open_database(Settings().sql_url)
    mill = Mill(database)
    mill.generate(lambda work, sample: TEXTS[work.position])
    mill.score()
    database.close()


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("words", [("status", "1"), ("watch", "1"), ("run", "p.jsonl", *DEMO)])
def test_a_jobs_status_counts_them(told: Told, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert run([*words, "--json"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    assert {name: outputs[name] for name in ("empty", "cut", "repeating", "flaws_exact")} == {
        "empty": 1, "cut": 2, "repeating": 1, "flaws_exact": True
    }  # fmt: skip
    assert run(list(words)) == 0
    shown = capsys.readouterr()
    assert "1 empty, 2 cut, 1 repeating" in shown.out + shown.err


@pytest.mark.usefixtures("job")
def test_a_list_of_jobs_does_not_count_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["outputs"]["empty"] is None


@pytest.mark.usefixtures("job")
def test_a_report_counts_them_and_says_how_to_leave_them_out(told: Told, folder: Path) -> None:
    told("report", "1", "-o", "r.html")
    page = (folder / "r.html").read_text()
    assert "Of the texts, 1 empty, 2 cut, 1 repeating: " in page and "--without empty,cut,repeating" in page


@pytest.mark.usefixtures("job")
def test_a_run_and_an_export_leave_them_out(told: Told, folder: Path) -> None:
    told("run", "p.jsonl", *DEMO, "-o", "run.jsonl", "--without", "empty")
    told("export", "1", "-o", "o.jsonl", "--without", "repeating")
    found = [[json.loads(line)["text"] for line in (folder / name).open()] for name in ("run.jsonl", "o.jsonl")]
    assert found == [[TEXTS[1]], [TEXTS[0]]]
    assert "none of them is all without cut" in told("export", "1", "-o", "n.jsonl", "--without", "cut", code=2)
