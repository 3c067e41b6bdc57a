"""A phone, 200 % zoom, 320 pixels: the text on the first screen, nothing too wide, nothing too small for a finger."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from db.jobs.jobs import list_jobs
from tests.browser.conftest import Seat, Sitting
from tests.browser.stock import Piece
from tests.browser.test_sitting import on_screen, ready, settled

SIZES = (
    pytest.param((640, 430), marks=pytest.mark.long),  # 1280 pixels at 200 %
    (390, 844),  # a phone
    pytest.param((320, 640), marks=pytest.mark.long),  # WCAG 1.4.10
)
EVERY_SIZE = ((640, 430), (390, 844), (320, 640))
LONG = "At the end of the pier, where nobody had walked since the spring tide, " * 12
PIECES = [
    Piece(f" number {n}. " + "The gulls went on as if nothing had been said. " * 30, 0.79 - n / 100, LONG)
    for n in range(5)
] + [Piece(" is covered.", 0.95)]

TOO_SMALL = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary, label.button")]
  .filter(e => e.checkVisibility({opacityProperty: true, visibilityProperty: true}) && e.type !== "hidden")
  .filter(e => !e.matches(".skip") && !e.closest("dialog:not([open])"))
  .filter(e => !e.closest("svg"))  // a bar's link stands in the table below it too
  // A link within a sentence is as high as its line (WCAG 2.5.8, "inline").
  .filter(e => !(e.matches("p:not(.muted) > a") && e.parentElement.textContent.length > e.textContent.length + 8))
  .map(e => [e.getBoundingClientRect(), e])
  .filter(([box]) => box.width > 0 && (box.width < 23.5 || box.height < 23.5))
  .map(([box, e]) => `${e.outerHTML.slice(0, 90)} ${box.width} x ${box.height}`)"""


def addresses(sitting: Sitting) -> list[str]:
    first, covered = sitting.outputs[0], sitting.outputs[-1]
    job = list_jobs(sitting.database)[0].id
    return [
        "/queue", f"/outputs/{covered}", f"/outputs/{first}?q=gulls&state=all&label=toxicity&low=0.1", "/bulk",
        "/queue?q=nowhere", "/progress", "/help", "/jobs", f"/jobs/{job}", "/workers", f"/jobs/{job}/charts",
        f"/jobs/{job}/advice",
    ]  # fmt: skip


def phone(sitting: Sitting, size: tuple[int, int]) -> Page:
    how: Any = {"is_mobile": True, "has_touch": True} if size[0] < 400 else {}
    page = sitting.reviewer(**how)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    return page


@pytest.fixture
def sitting(seat: Seat) -> Sitting:
    return seat(PIECES)


@pytest.mark.parametrize("size", SIZES)
def test_a_narrow_page_is_as_wide_as_its_screen_and_has_room_for_fingers(sitting: Sitting, size: Any) -> None:
    page = phone(sitting, size)
    wrong = {}
    for address in addresses(sitting):
        page.goto(sitting.web.base + address)
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if found := [f"{beyond} pixels too wide"] * (beyond > 0) + page.evaluate(TOO_SMALL):
            wrong[address] = found
    assert not wrong


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_the_text_begins_on_the_first_screen(sitting: Sitting, size: Any) -> None:
    page = phone(sitting, size)
    for address in ("/queue?state=flagged&q=gulls", f"/outputs/{sitting.outputs[0]}"):
        page.goto(sitting.web.base + address)
        ready(page)
        begins = page.locator("[data-text]").bounding_box()
        bar = page.locator(".decide").bounding_box()
        assert begins and bar
        assert begins["y"] + 40 <= min(size[1], bar["y"]), address
        assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("size", SIZES)
def test_filters_fold_and_unfold(sitting: Sitting, size: Any) -> None:
    page = phone(sitting, size)
    page.goto(f"{sitting.web.base}/queue?state=flagged")
    expect(page.locator("#q")).to_be_hidden()
    expect(page.locator(".chip")).to_contain_text("All flagged")  # what is in use stays in sight
    page.get_by_text("Filters", exact=True).click()
    page.fill("#q", "gulls")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=gulls**")
    ready(page)
    expect(page.locator("#q")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


def test_filters_unfold_without_javascript(sitting: Sitting) -> None:
    page = sitting.reviewer(java_script_enabled=False)
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#q")).to_be_hidden()
    page.get_by_text("Filters", exact=True).click()
    expect(page.locator("#q")).to_be_visible()


@pytest.mark.parametrize("size", SIZES)
def test_a_decision_does_not_throw_the_page_to_its_top(sitting: Sitting, size: Any) -> None:
    page = phone(sitting, size)
    first, second, third = sitting.outputs[:3]
    page.goto(f"{sitting.web.base}/outputs/{first}")
    on_screen(page, first)
    page.evaluate("document.querySelector('#card').scrollIntoView()")
    before = page.evaluate("scrollY")
    assert before > 0
    page.keyboard.press("x")
    on_screen(page, second)
    assert page.evaluate("scrollY") == pytest.approx(before, abs=1)
    # Deep in a long text, the next one is read from its beginning.
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.keyboard.press("x")
    on_screen(page, third)
    assert page.evaluate("scrollY") == pytest.approx(before, abs=1)
    settled(page)


def test_what_is_current_stands_out_in_colours_of_the_system(sitting: Sitting) -> None:
    page = sitting.reviewer(forced_colors="active")
    job = list_jobs(sitting.database)[0].id
    look = "e => { const s = getComputedStyle(e); return [s.backgroundColor, s.outlineWidth, s.outlineStyle].join() }"
    for address, current, other in (
        ("/queue", ".row[aria-current]", ".row:not([aria-current])"),
        ("/queue", ".places a[aria-current]", ".places a:not([aria-current])"),
        ("/queue", ".switch a[aria-current]", ".switch a:not([aria-current])"),
        ("/bulk", ".rows tr[data-current]", ".rows tbody tr:not([data-current])"),
        (f"/jobs/{job}/charts", ".tabs a[aria-current]", ".tabs a:not([aria-current])"),
        (f"/jobs/{job}/advice", ".labels a[aria-current]", ".labels a:not([aria-current])"),
        (f"/jobs/{job}/advice", ".advice tr.current", ".advice tbody tr:not(.current)"),
    ):
        page.goto(sitting.web.base + address)
        if address == "/bulk":
            ready(page)
            page.keyboard.press("j")
        assert page.locator(current).first.evaluate(look) != page.locator(other).first.evaluate(look), current
