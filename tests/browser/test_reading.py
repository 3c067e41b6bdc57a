"""What asks first, in a browser: covered texts, colleagues' texts and decisions; and what the page shows of them."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from contract.review import Seen
from db.review.claims import claim_output, release_output
from db.review.decisions.acts import decide
from db.review.detail import read_output
from tests.browser.conftest import Seat, Sitting
from tests.browser.stock import Piece
from tests.browser.test_sitting import flagged, on_screen, ready, settled, states

COVERED = [Piece(" is a text nobody should read by accident.", score) for score in (0.98, 0.97, 0.96)]


def seen(sitting: Sitting, output: int) -> Seen | None:
    return read_output(sitting.database, output).history[-1].seen


def color(page: Page, selector: str) -> str:
    return str(page.locator(selector).evaluate("found => getComputedStyle(found).color"))


def test_a_covered_text_asks_to_be_revealed_before_it_is_approved(seat: Seat) -> None:
    sitting = seat([*COVERED[:2], *flagged(2)])
    first, second, third, _ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)
    for press in (lambda: page.keyboard.press("a"), lambda: page.click("button:has-text('Approve')")):
        press()
        expect(page.locator("#toast")).to_contain_text("reveal it with r")
        on_screen(page, first)
    assert states(sitting, first) == ["pending"]
    page.keyboard.press("r")
    expect(page.locator("[data-text]")).to_contain_text("by accident")
    page.keyboard.press("r")  # covered again, and read
    expect(page.locator("[data-text]")).to_have_count(0)
    page.keyboard.press("a")
    on_screen(page, second)
    page.keyboard.press("x")
    on_screen(page, third)
    page.keyboard.press("a")
    settled(page)
    assert states(sitting, first, second, third) == ["approved", "rejected", "approved"]
    assert [seen(sitting, output) for output in (first, second, third)] == [Seen.REVEALED, Seen.COVERED, Seen.SHOWN]


def test_the_table_asks_too_and_reveals_a_page_at_once(seat: Seat) -> None:
    sitting = seat([*COVERED, *flagged(2)])
    first, *_ = sitting.outputs
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/bulk")
    ready(page)
    for key in ("j", "a"):
        page.keyboard.press(key)
    expect(page.locator("#toast")).to_contain_text("reveal it with r")
    page.keyboard.press("*")
    page.keyboard.press("x")
    expect(page.locator("main")).to_contain_text("3 covered, 3 never opened")
    page.go_back()
    ready(page)
    page.keyboard.press("Shift+R")
    expect(page.locator("tr", has_text="by accident")).to_have_count(3)
    ready(page)
    for key in ("j", "a"):
        page.keyboard.press(key)
    settled(page)
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.keyboard.press("x")
    expect(page.locator("main")).to_contain_text("1 covered, 0 never opened")
    ready(page)
    page.focus("#reason")
    page.keyboard.type("spam")
    page.keyboard.press("Control+Enter")
    expect(page.locator("h1")).to_have_text("1 output rejected")
    assert states(sitting, first) == ["approved"] and seen(sitting, first) is Seen.REVEALED
    assert read_output(sitting.database, sitting.outputs[2]).history[0].reason == "spam"


def test_a_link_to_what_a_colleague_has_open_stays_there_read_only_until_it_is_free(seat: Seat) -> None:
    sitting = seat(flagged(4))
    first, _, third, *_ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)
    claim_output(sitting.database, third, "noor")
    page.goto(f"{sitting.web.base}/outputs/{third}")
    on_screen(page, third)
    page.wait_for_timeout(500)
    on_screen(page, third)
    expect(page.locator(".reading")).to_contain_text("noor is reviewing this output")
    expect(page.locator("[data-text]")).to_contain_text("is text number 2")
    assert page.locator(".decide button").count() == 0
    for key in ("e", "a", "x"):
        page.keyboard.press(key)
    expect(page.locator("#toast")).to_contain_text("noor is reviewing")
    settled(page)
    assert states(sitting, third) == ["pending"]
    release_output(sitting.database, third, "noor")
    expect(page.locator("button:has-text('Reject')")).to_be_visible()
    page.keyboard.press("x")
    settled(page)
    assert states(sitting, third) == ["rejected"]


def test_deciding_over_a_colleague_asks_once(seat: Seat) -> None:
    sitting = seat(flagged(4))
    first, second, *_ = sitting.outputs
    for output in (first, second):
        decide(sitting.database, output, "noor", "approve")
    page = sitting.reviewer()
    page.goto(f"{sitting.web.base}/outputs/{first}?state=decided")
    on_screen(page, first)
    page.keyboard.press("x")
    expect(page.locator("#toast")).to_contain_text("noor has approved output")
    on_screen(page, first)
    page.keyboard.press("x")
    on_screen(page, second)
    settled(page)
    assert states(sitting, first, second) == ["rejected", "approved"]
    page.goto(f"{sitting.web.base}/bulk?state=decided")
    ready(page)
    listed = page.locator("tr[data-output]").evaluate_all("rows => rows.map(row => Number(row.dataset.output))")
    place = listed.index(second)
    for key in ["j"] * (place + 1) + ["x", "x"]:
        page.keyboard.press(key)
    settled(page)
    assert states(sitting, second) == ["rejected"]


def test_the_reason_has_a_key_and_control_enter_rejects_with_it(seat: Seat) -> None:
    sitting = seat(flagged(3))
    first, second, _ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)
    page.keyboard.press("c")
    expect(page.get_by_label("Reason, optional")).to_be_focused()
    page.keyboard.type("rude, a and x")
    page.keyboard.press("Control+Enter")
    on_screen(page, second)
    settled(page)
    assert states(sitting, first, second) == ["rejected", "pending"]
    assert read_output(sitting.database, first).history[0].reason == "rude, a and x"


def test_what_is_not_stored_is_never_green(seat: Seat) -> None:
    sitting = seat(flagged(5))
    first, second, third, *_ = sitting.outputs
    page = sitting.reviewer()
    on_screen(page, first)
    page.keyboard.press("a")
    on_screen(page, second)
    settled(page)
    stored = f'.row[data-output="{first}"] .row-state'
    expect(page.locator(stored)).to_have_text("approved")
    green = color(page, stored)
    page.wait_for_timeout(300)  # the next one is read ahead
    sitting.web.kill()
    page.keyboard.press("a")
    on_screen(page, third)
    sending = f'.row[data-output="{second}"] .row-state'
    expect(page.locator(sending)).to_contain_text("approved …")
    assert color(page, sending) != green
    sitting.web.start()
    page.click("text=Send now")
    settled(page)
    release_output(sitting.database, third, "mara")
    decide(sitting.database, third, "noor", "approve")
    page.keyboard.press("x")
    refused = f'.row[data-output="{third}"] .row-state'
    expect(page.locator(refused)).to_have_text("not stored")
    assert color(page, refused) != green


def test_the_rail_goes_on_beyond_its_first_rows(seat: Seat) -> None:
    sitting = seat(flagged(90))
    page = sitting.reviewer()
    on_screen(page, sitting.outputs[0])
    assert page.locator("#rail .row").count() == 40
    page.goto(f"{sitting.web.base}/outputs/{sitting.outputs[39]}")
    on_screen(page, sitting.outputs[39])
    page.keyboard.press("x")
    on_screen(page, sitting.outputs[40])
    expect(page.locator(f'.row[aria-current][data-output="{sitting.outputs[40]}"]')).to_be_visible()
    page.locator(".rail").evaluate("rail => rail.scrollTo(0, rail.scrollHeight)")
    expect(page.locator("#rail .row")).to_have_count(90)


def test_everything_that_asks_asks_without_javascript_too(seat: Seat) -> None:
    sitting = seat([*COVERED[:1], *flagged(3)])
    first, second, third, _ = sitting.outputs
    page = sitting.reviewer(java_script_enabled=False)
    page.click("button:has-text('Approve')")
    expect(page.locator(".notice.warning")).to_contain_text("reveal it and read it before you approve it")
    assert "by accident" not in page.content() and states(sitting, first) == ["pending"]
    page.click("[data-reveal]")
    page.click("button:has-text('Approve')")
    on_screen(page, second, scripted=False)
    decide(sitting.database, third, "noor", "approve")
    page.goto(f"{sitting.web.base}/outputs/{third}")
    page.click("button:has-text('Reject')")
    expect(page.locator("h1")).to_have_text("noor has decided this output")
    page.click("text=Reject output")
    assert states(sitting, first, third) == ["approved", "rejected"]
    claim_output(sitting.database, second, "noor")
    page.goto(f"{sitting.web.base}/outputs/{second}")
    assert page.locator(".decide button").count() == 0
    page.goto(f"{sitting.web.base}/bulk?state=all")
    page.click("[data-reveal-page]")
    expect(page.locator("tr", has_text="by accident")).to_have_count(1)
