"""axe-core, from npm at test time and never shipped, finds no serious fault on any page, light and dark."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from db.jobs.jobs import list_jobs
from tests.browser.conftest import Seat, Sitting, program, unavailable
from tests.browser.stock import Piece

VERSION = "4.14.1"
# Serious and critical is what the rules of WCAG 2 A and AA weigh; best practices are read as advice.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PIECES = [
    Piece(" shouted that they were all fools.", 0.78, prompt="The captain"),
    Piece(" said something that nobody should read by accident.", 0.97, prompt="Dear Aunt"),
    Piece(" lived quietly by the sea.", 0.1),
    Piece(" grumbled about the weather and the mayor.", 0.74),
]


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """The source of axe-core."""
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir("axe-core"))
    script = folder / f"{VERSION}.js"
    if not script.exists():
        npm = program("npm")
        install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", f"axe-core@{VERSION}"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=120)
        if done.returncode:
            unavailable(f"axe-core cannot be installed: {done.stderr[-300:]}")
        script.write_text((folder / "node_modules" / "axe-core" / "axe.min.js").read_text())
    return script.read_text()


def faults(page: Page, axe: str) -> list[str]:
    """What axe finds on a page as it stands, serious and worse."""
    page.evaluate(axe)
    found: Any = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", TAGS
    )
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def addresses(sitting: Sitting) -> list[str]:
    first, covered, *_ = sitting.outputs
    job = list_jobs(sitting.database)[0].id
    return [
        "/queue", f"/outputs/{covered}", f"/outputs/{covered}?reveal=1&q=accident", f"/outputs/{first}", "/bulk",
        "/bulk?q=nowhere", "/queue?q=nowhere&label=toxicity&low=0.5", "/progress", "/help", "/nowhere", "/jobs",
        f"/jobs/{job}", "/workers", f"/jobs/{job}/charts", f"/jobs/{job}/advice",
    ]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_fault(seat: Seat, axe: str, theme: Any) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer(color_scheme=theme)
    found: dict[str, list[str]] = {}
    for address in addresses(sitting):
        page.goto(sitting.web.base + address)
        found[address] = faults(page, axe)
    page.goto(f"{sitting.web.base}/outputs/{sitting.outputs[0]}")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.keyboard.press("e")
    found["edit"] = faults(page, axe)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    found["help window"] = faults(page, axe)
    page.goto(f"{sitting.web.base}/bulk")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.keyboard.press("*")
    found["chosen"] = faults(page, axe)
    page.keyboard.press("x")
    page.wait_for_selector("[data-go]")
    found["confirm"] = faults(page, axe)
    page.click("[data-go]")
    page.wait_for_selector("text=outputs rejected")
    found["done"] = faults(page, axe)
    stranger = sitting.browser.new_context(color_scheme=theme).new_page()
    stranger.goto(f"{sitting.web.base}/queue")
    found["sign in"] = faults(stranger, axe)
    stranger.context.close()
    assert {name: those for name, those in found.items() if those} == {}


def test_the_page_is_whole_at_twice_its_size_and_on_a_phone(seat: Seat) -> None:
    sitting = seat(PIECES)
    page = sitting.reviewer()
    for address in addresses(sitting):
        page.goto(sitting.web.base + address)
        for width, height in ((640, 430), (390, 844), (320, 640)):  # 1280 pixels at 200 %, a phone, WCAG 1.4.10
            page.set_viewport_size({"width": width, "height": height})
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, f"{address} is {beyond} pixels too wide at {width}"


def test_axe_would_find_a_fault(seat: Seat, axe: str) -> None:
    page = seat(PIECES).reviewer()
    assert faults(page, axe) == []
    page.evaluate(
        "document.querySelector('#q').removeAttribute('placeholder'), document.querySelector('[for=q]').remove()"
    )
    assert any(fault.startswith("label:") for fault in faults(page, axe))
