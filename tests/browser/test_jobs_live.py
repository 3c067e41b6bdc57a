"""Pages of jobs in a browser: figures that change by themselves, bars that lead to outputs, a report on its own."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from review.report import report_page
from tests.browser.conftest import Seat
from tests.browser.stock import Piece
from tests.unit.db.mill import Mill

PIECES = (Piece(" shouted that they were all fools.", 0.78), Piece(" lived quietly.", 0.1), Piece(" sang.", 0.12))
SOON = 10_000


def _stat(page: Page, name: str) -> object:
    return page.locator(".stat", has_text=name).locator("dd").first


def test_a_job_is_followed_to_its_end_without_a_reload(seat: Seat) -> None:
    sitting = seat(PIECES)
    mill = Mill(sitting.database)
    job = mill.submit(4)
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/jobs/{job}")
    page.evaluate("window.stayed = true")
    expect(page.locator(".job-status")).to_contain_text("queued")
    expect(_stat(page, "Texts")).to_have_text("0 of 4")  # type: ignore[arg-type]
    mill.finish(mill.claim())
    expect(_stat(page, "Texts")).to_have_text("2 of 4", timeout=SOON)  # type: ignore[arg-type]
    mill.work_off()
    expect(page.locator(".job-status")).to_contain_text("completed", timeout=SOON)
    expect(_stat(page, "Prompts")).to_have_text("4 of 4")  # type: ignore[arg-type]
    assert page.evaluate("window.stayed")


def test_a_server_that_is_away_is_said_and_found_again(seat: Seat) -> None:
    sitting = seat(PIECES)
    mill = Mill(sitting.database)
    job = mill.submit(2)
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/jobs/{job}")
    sitting.web.kill()
    expect(page.get_by_text("The server does not answer")).to_be_visible(timeout=SOON)
    mill.finish(mill.claim())
    sitting.web.start()
    expect(_stat(page, "Texts")).to_have_text("2 of 2", timeout=20_000)  # type: ignore[arg-type]
    expect(page.get_by_text("The server does not answer")).to_be_hidden()


def test_the_list_keeps_the_keyboards_place_while_it_changes(seat: Seat) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/jobs")
    page.locator("a[href='/jobs/1']").focus()
    Mill(sitting.database).submit(2, name="another.jsonl")
    expect(page.get_by_text("another.jsonl")).to_be_visible(timeout=SOON)
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/jobs/1"


def test_a_click_on_a_bar_shows_its_outputs(seat: Seat) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/jobs/1/charts")
    # Anywhere in the column: the bar of one text is a pixel and a half high.
    page.locator("#scores-toxicity a.bar-column").last.locator(".column").click(position={"x": 3, "y": 20})
    page.wait_for_url("**/queue?*low=0.75&high=0.80*")
    expect(page.locator("#main")).to_contain_text("shouted that they were all fools")


def test_jobs_pages_are_whole_without_scripts(seat: Seat) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer(java_script_enabled=False)
    for path, words in (("/jobs", "prompts.jsonl"), ("/jobs/1", "3 of 3"), ("/workers", "inkmill worker"),
                        ("/jobs/1/charts", "Finish reasons"), ("/jobs/1/advice", "unknown")):  # fmt: skip
        page.goto(sitting.web.base + path)
        expect(page.locator("#main")).to_contain_text(words)


def test_a_threshold_is_applied_by_its_button(seat: Seat) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/jobs/1/advice?label=toxicity&at=0.11")
    page.get_by_role("button", name="Apply 0.11").click()
    expect(page.get_by_role("status").first).to_contain_text("2 outputs are flagged now; 1 changed")
    expect(page.locator("tr.current th")).to_contain_text("0.11")


def test_a_report_opens_from_a_file_and_fits_a_phone(seat: Seat, tmp_path: Path) -> None:
    sitting = seat(PIECES)
    (tmp_path / "report.html").write_text(report_page(sitting.database, 1))
    for scheme in ("light", "dark"):
        context = sitting.browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 700})  # type: ignore[arg-type]
        sitting.contexts.append(context)
        page = context.new_page()
        page.on("console", sitting._heard)
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(f"file://{tmp_path}/report.html")
        expect(page.locator("h1")).to_contain_text("prompts.jsonl")
        assert len(asked) == 1, asked
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
