"""`run`, `submit`, `export` and `report` against files of the user's own that lie where theirs would."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inkmill.cli import run
from tests.unit.inkmill.conftest import DEMO, PROMPTS, Told, finish


def jobs(capsys: pytest.CaptureFixture[str]) -> int:
    assert run(["jobs", "--json"]) == 0
    return len(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", ["z.jsonl", "z.jsonl.errors.jsonl", "hard", "link"])
def test_no_run_replaces_or_removes_its_own_prompt_file(
    told: Told, folder: Path, capsys: pytest.CaptureFixture[str], name: str, force: tuple[str, ...]
) -> None:
    prompts = folder / "z.jsonl.errors.jsonl"
    (folder / "p.jsonl").rename(prompts)
    os.link(prompts, folder / "hard")
    (folder / "link").symlink_to(prompts)
    said = told("run", prompts.name, *DEMO, "-o", name, *force, code=2)
    assert f"-o {name}: " in said and "is the prompt file itself; name another file" in said
    assert prompts.read_text() == PROMPTS and not (folder / "z.jsonl").exists()
    assert jobs(capsys) == 0


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.errors.jsonl"])
def test_a_run_over_a_file_of_the_users_is_refused_before_anything_is_submitted(
    told: Told, folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / name).write_text("mine")
    assert f"{name}: already exists" in told("run", "p.jsonl", *DEMO, "-o", "o.jsonl", code=2)
    assert jobs(capsys) == 0
    assert (folder / name).read_text() == "mine"


def test_the_same_run_exports_again_and_another_job_does_not_take_its_file(told: Told, folder: Path) -> None:
    finish(told)
    for _ in range(2):
        told("run", "p.jsonl", *DEMO)
    assert len((folder / "p.jsonl.out.jsonl").read_text().splitlines()) == 2
    (folder / "p.jsonl").write_text(PROMPTS + PROMPTS)
    finish(told)
    said = told("run", "p.jsonl", *DEMO, code=2)
    assert "p.jsonl.out.jsonl: already exists, and is not as it was written for this job; name another" in said
    told("run", "p.jsonl", *DEMO, "--force")
    told("run", "p.jsonl", *DEMO)
    assert len((folder / "p.jsonl.out.jsonl").read_text().splitlines()) == 4


def test_an_export_and_a_report_of_a_job_replace_their_earlier_ones_only(told: Told, folder: Path) -> None:
    finish(told)
    for words in (("export", "1", "-o", "o.jsonl"), ("report", "1", "-o", "r.html"), ("report", "1")):
        told(*words)
        told(*words)
    for name, words in (("o.jsonl", ("export", "1", "-o", "o.jsonl")), ("report-1.html", ("report", "1"))):
        (folder / name).write_text("mine")
        said = told(*words, code=2)
        assert f"{name}: already exists" in said and "--force" in said
        assert (folder / name).read_text() == "mine"
        told(*words, "--force")
        assert (folder / name).read_text() != "mine"


def test_skipped_lines_never_replace_those_that_the_user_mended(
    told: Told, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.jsonl").write_text(PROMPTS + "oops\n")
    told("submit", "p.jsonl", *DEMO, "--skip-bad")
    told("submit", "p.jsonl", *DEMO, "--skip-bad", "--again")
    (folder / "p.bad.jsonl").write_text(PROMPTS)
    said = told("submit", "p.jsonl", *DEMO, "--skip-bad", "--again", code=2)
    assert "p.bad.jsonl: already exists, and is not as Inkmill wrote it" in said and "move it away" in said
    assert (folder / "p.bad.jsonl").read_text() == PROMPTS
    assert jobs(capsys) == 2


@pytest.mark.parametrize("out", ["p.bad.jsonl", "../work/p.bad.jsonl"])
def test_an_export_to_where_skipped_lines_go_is_refused(told: Told, folder: Path, out: str) -> None:
    said = told("run", "p.jsonl", *DEMO, "--skip-bad", "-o", out, code=2)
    assert f"-o {out}: --skip-bad writes bad lines to p.bad.jsonl; name another file" in said


@pytest.mark.parametrize("name", ["p.jsonl.out.jsonl", "p.jsonl.out.jsonl.errors.jsonl"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_file_of_the_users_where_a_run_writes_by_default_is_told_at_the_start(
    told: Told, folder: Path, capsys: pytest.CaptureFixture[str], name: str, resumed: bool
) -> None:
    if resumed:
        finish(told)
    (folder / name).write_text("mine")
    assert f"{name}: already exists" in told("run", "p.jsonl", *DEMO, code=2)
    assert (folder / name).read_text() == "mine" and jobs(capsys) == resumed
    assert [path.name for path in folder.iterdir() if "out" in path.name] == [name]


def test_a_file_of_dead_prompts_that_is_no_earlier_one_is_not_replaced(told: Told, folder: Path) -> None:
    finish(told, dead={0: "x"})
    (folder / "o.jsonl.errors.jsonl").write_text("mine")
    for force in ((), ("--force",)):
        said = told("export", "1", "-o", "o.jsonl", *force, code=2)
        assert "o.jsonl.errors.jsonl: already exists" in said and "name another file with -o" in said
    assert (folder / "o.jsonl.errors.jsonl").read_text() == "mine" and not (folder / "o.jsonl").exists()


def test_an_export_in_another_format_replaces_the_jobs_own_and_no_other_jobs(told: Told, folder: Path) -> None:
    finish(told)
    finish(told, "--again")
    told("export", "1", "-o", "o.csv")
    told("export", "1", "-o", "o.csv", "--for-spreadsheets", "--flat")
    told("report", "1", "-o", "r.html")
    for words in (("export", "2", "-o", "o.csv"), ("report", "2", "-o", "r.html"), ("export", "2", "-o", "r.html",
                  "--format", "jsonl")):  # fmt: skip
        assert f"{words[3]}: already exists, and is not as it was written for this job" in told(*words, code=2)
    assert (folder / "o.csv").read_bytes().startswith(b"\xef\xbb\xbfid,job,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "o.xlsx"), "Inkmill does not write .xlsx files"),
        (("-o", "o.jsonl", "--flat"), "--flat: makes columns of a CSV or Parquet file"),
        (("--for-spreadsheets",), "--for-spreadsheets: is for CSV"),
        (("--without", "empt"), "--without empt: is not a flaw of a text; did you mean empty?"),
    ],
)
def test_an_export_that_cannot_be_made_is_refused_before_anything_is_submitted(
    told: Told, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert said in told("run", "p.jsonl", *DEMO, *words, code=2)
    assert jobs(capsys) == 0


def test_a_report_is_not_written_under_an_ending_that_promises_something_else(told: Told, folder: Path) -> None:
    finish(told)
    assert "-o r.pdf: a report is a page in HTML; end its name in .html" in told("report", "1", "-o", "r.pdf", code=2)
    assert not (folder / "r.pdf").exists()
