"""What a run says at its end: samples that harm nobody's eyes, and the commands that fit the job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db.insights.failures import failure_groups
from db.insights.flaws import count_flaws
from db.insights.pace import read_pace
from db.jobs.jobs import cancel_job
from db.jobs.status import snapshot
from db.session.engine import open_database
from inkmill.show.summary import print_summary
from producer.export import ExportReport
from tests.unit.producer.exports.conftest import Mill

TOO_LONG = "the prompt has 2000 tokens and max_new_tokens is 64: together 2064, more than the model's 1024 positions"


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    database = open_database(f"sqlite:///{tmp_path / 'mill.db'}")
    yield Mill(database)
    database.close()


def summary(mill: Mill, capsys: pytest.CaptureFixture[str], path: str = "o.jsonl", model: str = "gpt2") -> str:
    now = replace(snapshot(mill.database, 1), model=model)
    report = ExportReport(path=Path(path), errors_path=None, rows=now.generated, errors=0, format="jsonl", job=now)
    print_summary(
        mill.database,
        report,
        read_pace(mill.database, now),
        count_flaws(mill.database, 1),
        failure_groups(mill.database, 1),
    )
    return capsys.readouterr().err


def finished(mill: Mill, prompts: list[str], text: str = " fine text") -> None:
    mill.submit(prompts)
    mill.generate(lambda work, sample: text)
    mill.score()


def test_a_flagged_text_is_covered_and_how_to_read_it_is_said(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    finished(mill, ["Once"], " a bad [red]text")
    said = summary(mill, capsys)
    assert "a bad" not in said and "(16 characters, flagged: toxicity)" in said
    assert "covered here; to read them: " in said and " web\n" in said


def test_long_prompts_and_texts_are_folded(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    finished(mill, ["word\n" * 5000], " more" * 5000)
    lines = [line for line in summary(mill, capsys).splitlines() if line.startswith("  · ")]
    assert len(lines) == 1 and len(lines[0]) < 400 and "word word…" in lines[0] and lines[0].endswith("…")


def test_colons_and_brackets_of_a_text_stay(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    finished(mill, ["say :smile: [/bold] \\"], " [bold] :horse:")
    assert "say :smile: [/bold] \\ [bold] :horse:" in summary(mill, capsys)


def test_what_is_suggested_fits_the_job(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    finished(mill, ["Once"])
    said = summary(mill, capsys)
    assert "report 1" in said
    assert not [word for word in (" web", "retry", "--only clean", "--model gpt2") if word in said]


def test_a_job_with_flagged_texts_is_reviewed_and_exported_under_the_runs_name(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(mill, ["Once", "Twice"], " bad")
    said = summary(mill, capsys, "night/tales.csv.gz", model="demo")
    assert "read the flagged texts (2) and decide" in said
    assert "export 1 -o night/tales.clean.csv.gz --only clean" in said
    assert "run FILE --model gpt2" in said


@pytest.mark.parametrize(
    ("reason", "command"),
    [("ran out of memory", "retry 1\n"), (TOO_LONG, "retry 1 --code too-long --on-too-long truncate-left\n")],
)
def test_the_retry_that_can_help_is_offered(
    mill: Mill, capsys: pytest.CaptureFixture[str], reason: str, command: str
) -> None:
    mill.submit(["Once", "Twice"])
    mill.generate(dead={0: reason})
    mill.score()
    said = summary(mill, capsys)
    assert command in said and said.count("retry 1") == 1


def test_a_cancelled_job_can_be_retried(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    mill.submit(["Once"])
    cancel_job(mill.database, 1)
    said = summary(mill, capsys)
    assert "retry 1" in said and "report" not in said and "from 1 prompt\n" in said
