"""The report: it stands alone, says what it is of, and keeps flagged texts to itself unless asked."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from sqlalchemy import update

from contract.errors import UsageError
from contract.review import Action
from contract.settings import Settings
from db.jobs.reflag import reflag_job
from db.jobs.status import snapshots
from db.models import Job, Output, Score
from db.review.decisions.acts import decide
from db.session.engine import Database
from inkmill.cli import run
from review.report import report_page
from review.show.job_overview import job_overview
from tests.browser.stock import Piece, stock
from tests.unit.db.mill import Mill
from tests.unit.review.site import words_of

HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)> \u202etxt \x07 " + "a" * 3000
PIECES = (
    Piece(" lived quietly by the sea.", 0.10),
    Piece(" shouted that they were all fools.", 0.75, prompt="The captain"),
    Piece(" should not be read by accident.", 0.97, prompt="Dear Aunt"),
    Piece(HOSTILE, 0.2, prompt=HOSTILE),
)


class _Addresses(HTMLParser):
    """Everything that a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [(name, value) for name, value in attrs if name in ("src", "href", "style") or name[:2] == "on"]


def test_a_report_loads_and_runs_nothing(database: Database) -> None:
    stock(database, PIECES, name=HOSTILE[:80])
    page = report_page(database, 1, show_flagged=True)
    read = _Addresses()
    read.feed(page)
    assert not read.found
    assert not read.tags & {"script", "link", "img", "iframe", "form", "button"}
    assert page.count("<style>") == page.count("</style>") == 1
    assert "url(" not in page and "@import" not in page


def test_it_says_what_was_asked_what_came_and_what_was_flagged(database: Database) -> None:
    stock(database, PIECES, name="town.jsonl")
    said = words_of(report_page(database, 1, version="9.9"))
    for words in ("town.jsonl", "completed", "Seed 8123", "temperature 0.8", "4 of 4", "50.0", "toxicity 2",
                  "Reviewed so far: 0 approved or edited, 0 rejected; 2 flagged texts left to review",
                  "Failed prompts None",
                  "Scores", "Over time", "Finish reasons", "Inkmill 9.9"):  # fmt: skip
        assert words in said.replace("&nbsp;", " "), words
    assert "This job has not finished" not in said


def test_flagged_texts_are_left_out_unless_asked_for(database: Database) -> None:
    stock(database, PIECES)
    plain, shown = report_page(database, 1), report_page(database, 1, show_flagged=True)
    assert "lived quietly" in plain
    assert "all fools" not in plain and "read by accident" not in plain
    assert "Dear Aunt" in plain and "is left out of this report" in plain
    assert "all fools" in shown and "read by accident" in shown


def test_what_scores_high_is_left_out_where_a_high_threshold_lets_it_pass(database: Database) -> None:
    stock(database, PIECES)
    reflag_job(database, 1, thresholds=dict.fromkeys(("toxicity", "insult"), 1.0), blocklist=None)
    assert "read by accident" not in report_page(database, 1)


def test_a_job_that_is_not_over_says_so_first(mill: Mill) -> None:
    mill.submit(6)
    mill.finish(mill.claim())
    page = report_page(mill.database, 1)
    said = words_of(page)
    assert "This job has not finished. It is running" in said
    assert "2 of 6 texts" in said
    assert page.index("This job has not finished") < page.index("Results")


def test_a_job_without_a_single_text_has_a_report(mill: Mill) -> None:
    mill.submit(3)
    assert "0 of 3" in words_of(report_page(mill.database, 1))


def test_what_a_tuned_model_copied_is_told(database: Database) -> None:
    stock(database, PIECES)
    assert "copied" not in report_page(database, 1)
    with database.write() as connection:
        for output, copied in ((1, 3), (2, 32), (3, 118)):
            connection.execute(update(Output).where(Output.id == output).values(copied_tokens=copied))
    said = words_of(report_page(database, 1)).replace("&nbsp;", " ")
    assert "2 of 3 texts (66.7 %) copied: 32 tokens or more in a row stand word for word in what" in said
    assert "The longest run has 118 tokens." in said


def test_decisions_and_failures_are_told(database: Database) -> None:
    outputs = stock(database, PIECES)
    decide(database, outputs[1], "mara", Action.REJECT)
    assert "0 approved or edited, 1 rejected; 1 flagged texts left to review" in words_of(report_page(database, 1))


def test_why_prompts_are_dead_is_told(mill: Mill) -> None:
    from db.work.outputs import record_fault

    job = mill.submit(2)
    claim = mill.claim()
    record_fault(
        mill.database, claim, mill.missing(claim)[0][0].prompt_id, "too <long> for gpt2", number=1, certain=True
    )
    assert "too &lt;long&gt; for gpt2" in report_page(mill.database, job)


def test_an_unknown_job_is_named(database: Database) -> None:
    with pytest.raises(UsageError, match="no job 9"):
        report_page(database, 9)


def test_the_command_writes_a_private_file_and_refuses_what_cannot_be(
    one_database: Database, tmp_path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    stock(one_database, PIECES)
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INKMILL_DATABASE_URL", one_database.url.render_as_string(hide_password=False))
    monkeypatch.chdir(tmp_path)
    fresh = Settings()  # not those that another test of this process has asked for
    monkeypatch.setattr("inkmill.startup.settings", lambda: fresh)
    out = tmp_path / "report.html"
    assert run(["report", "1", "-o", str(out)]) == 0
    assert out.stat().st_mode & 0o077 == 0
    assert "all fools" not in out.read_text()
    assert run(["report", "1", "--show-flagged"]) == 0
    assert "all fools" in (tmp_path / "report-1.html").read_text()
    capsys.readouterr()
    assert run(["report", "1", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert run(["report", "7", "-o", str(out)]) == 2
    assert "no job 7" in capsys.readouterr().err
    assert run(["report", "1", "-o", str(tmp_path / "nowhere" / "r.html")]) == 2
    assert "all fools" not in out.read_text()  # what was there stays


def test_reports_do_not_change_what_they_read(database: Database) -> None:
    stock(database, PIECES)
    before = snapshots(database)
    report_page(database, 1)
    after = snapshots(database)
    assert [re.sub(r"now=[\d.]+", "", repr(job)) for job in before] == [
        re.sub(r"now=[\d.]+", "", repr(job)) for job in after
    ]


def test_what_the_clock_stamped_before_it_was_set_back_breaks_no_page(mill: Mill) -> None:
    job = mill.submit(60, batch_size=30)
    mill.finish(mill.claim())
    mill.finish_texts(mill.claim_texts())
    with mill.database.write() as connection:
        connection.execute(update(Output).where(Output.id <= 5).values(created_at=Output.created_at + 600))
        connection.execute(update(Score).where(Score.output_id <= 5).values(created_at=Score.created_at + 600))
    mill.claim()  # nothing waits for a worker
    assert job_overview(mill.database, job).pace.average > 0
    assert f"Job {job}" in words_of(report_page(mill.database, job))


def test_times_say_their_own_offset_from_utc(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    job = mill.submit(1)
    with mill.database.write() as connection:
        # 2026-10-24 22:00 and 2026-10-25 02:30, UTC: summer time ended between them.
        connection.execute(update(Job).values(created_at=1792879200.0, started_at=1792895400.0))
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        shown = words_of(report_page(mill.database, job))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "Submitted 2026-10-25 00:00 +02:00 Started 2026-10-25 03:30 +01:00" in shown
    assert "Times are" not in shown


def test_it_says_who_did_what_to_the_job(database: Database) -> None:
    stock(database, PIECES)
    assert "Record" not in words_of(report_page(database, 1))
    reflag_job(database, 1, thresholds={"toxicity": 0.8}, blocklist=None, by="anna <b>")
    words = words_of(report_page(database, 1))
    assert "Record" in words and "anna &lt;b&gt; reflag" in words
