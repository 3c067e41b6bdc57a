"""Takes a screenshot of each page, light and dark, for the README: `make screenshots`.

A sitting is set up over invented texts with invented scores; the page itself is the real one.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from sqlalchemy import func, select, update

from contract.review import Filter
from db.models import Job, Output
from db.review.decisions.acts import decide
from db.review.queue import matching_versions
from db.session.engine import Database, open_database
from db.work.request_claims import claim_request, save_words
from db.work.score_requests import mark_words
from db.work.workers import record_heartbeat, register_worker
from tests.browser.conftest import Sitting, Web, chromium
from tests.browser.stock import Piece, stock

SIZE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 780}
THEMES = ("light", "dark")
STARTS = (
    "The captain of the ferry", "On market day", "Dear Aunt, you will not believe", "To make the soup",
    "The mayor opened his letter and", "We reached the village at dusk;", "“You,” said the baker,",
)  # fmt: skip
CALM = (
    " counted the crates twice, then sent the boy for bread and tea before the rain came.",
    " and the bells rang for a quarter of an hour while everybody looked for the missing goat.",
    " was late again, so we sat on the wall and told each other what we had dreamed.",
    " put the onions in first, then the carrots, and let it all stand until the neighbours came in.",
)
ROUGH = (
    " shouted that the clerk was a liar and a fool, and that somebody ought to throw him into the harbour.",
    " called them idiots, every single one, and spat on the floor before he slammed the door.",
    " told the miller he was a worthless old cheat whose bread even the rats refuse to eat.",
    " swore he would break every window in the street if that stupid dog barked once more.",
)
CARRIED = {"liar": 0.18, "fool": 0.31, "throw": 0.06, "idiots": 0.4, "worthless": 0.22, "cheat": 0.2, "stupid": 0.35}


def pieces(count: int) -> list[Piece]:
    """Texts of which about every fourth is rough; samples of one prompt lie in a row."""
    drawn = random.Random(8123)
    made = []
    for number in range(count):
        rough = drawn.random() < 0.28
        toxicity = drawn.betavariate(9, 2) if rough else drawn.betavariate(1, 9)
        others = {
            "threat": round(toxicity * drawn.uniform(0.05, 0.85), 4),
            "insult": round(toxicity * drawn.uniform(0.4, 1), 4),
        }
        text = " ".join(drawn.choice(ROUGH if rough else CALM).strip() for _ in range(drawn.randint(1, 3)))
        made.append(Piece(f" {text}", round(toxicity, 4), STARTS[number // 3 % len(STARTS)], others))
    return made


def set_up(database: Database) -> list[int]:
    """Two jobs, a worker, some decisions of two reviewers. Returns the outputs."""
    stock(database, pieces(240), name="market-day.jsonl", samples=3)
    outputs = stock(database, pieces(600), name="night-of-november.jsonl", samples=3)
    spread(database, 37.0)
    register_worker(database, "worker-1", host="mill", pid=4711, state="ready", model="gpt2", revision="607a30d783",
             dtype="bf16", device="cpu", classifiers=["original"])  # fmt: skip
    keep_alive(database)
    return outputs


def keep_alive(database: Database) -> None:
    """Lets the worker be seen just now."""
    record_heartbeat(database, "worker-1", tokens_per_second=1480.2, memory_mb=1212.0)


def spread(database: Database, seconds: float) -> None:
    """Lets each job have taken so long, as if a worker had written its texts one after the other."""
    with database.write() as connection:
        for job in connection.execute(select(Job.id, Job.finished_at)).all():
            mine = Output.job_id == job.id
            first, count = connection.execute(select(func.min(Output.id), func.count()).where(mine)).one()
            came = job.finished_at - seconds * (1 - (Output.id - first + 1.0) / count)
            connection.execute(update(Output).where(mine).values(created_at=came))
            began = job.finished_at - seconds
            connection.execute(update(Job).where(Job.id == job.id).values(started_at=began, created_at=began - 9))


def decide_some(sitting: Sitting, page: Page) -> None:
    """Some of the queue as a sitting leaves it: noor's decisions from elsewhere, mara's by keyboard."""
    for output, _ in matching_versions(sitting.database, Filter())[30:40]:  # mara holds the first
        decide(sitting.database, output, "noor", "reject", reason="threatens somebody" if output % 3 == 0 else None)
    page.goto(f"{sitting.web.base}/queue")
    for key in "xxaxxxaxxaxx":
        page.wait_for_timeout(250)
        page.keyboard.press(key)
    page.wait_for_timeout(600)


def marked(sitting: Sitting, output: int, text: str) -> None:
    """The words of a text marked, as a worker does it."""
    mark_words(sitting.database, output)
    claim = claim_request(sitting.database, "worker-1", ["demo"], 60)
    assert claim is not None
    spans = [found.span() for found in re.finditer("|".join(CARRIED), text)]
    falls = [CARRIED[text[start:end]] for start, end in spans]
    save_words(sitting.database, claim, spans, {"toxicity": falls})


def views(covered: int) -> list[tuple[str, str, tuple[str, ...]]]:
    """Each screenshot's name, its page's address, the keys to press there."""
    return [
        ("focus", f"/outputs/{covered}?reveal=1", ()),
        ("covered", f"/outputs/{covered}", ()),
        ("edit", f"/outputs/{covered}?reveal=1", ("e",)),
        ("bulk", "/bulk?label=insult&low=0.4&high=0.75&order=label", ("j", "j", "m", "j", "m", "j")),
        ("confirm", "/bulk", ("*", "x")),
        ("keys", "/queue", ("?",)),
        ("search", "/queue?q=idiots&state=all", ()),
        ("empty", "/queue?q=zebra", ()),
        ("progress", "/progress", ()),
        ("help", "/help", ()),
        ("jobs", "/jobs", ()),
        ("job", "/jobs/2", ()),
        ("workers", "/workers", ()),
        ("charts", "/jobs/2/charts", ()),
        ("advice", "/jobs/2/advice", ()),
        ("error", "/nowhere", ()),
    ]


def screenshots(sitting: Sitting, folder: Path) -> None:
    """Every page, in both themes."""
    page = sitting.reviewer()
    decide_some(sitting, page)
    page.goto(f"{sitting.web.base}/queue")
    covered = int(page.get_attribute("article[data-output]", "data-output") or 0)
    page.goto(f"{sitting.web.base}/outputs/{covered}?reveal=1")
    marked(sitting, covered, page.inner_text("[data-text]"))
    for theme in THEMES:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        for name, address, keys in views(covered):
            keep_alive(sitting.database)
            take(page, sitting.web.base + address, folder / f"{name}-{theme}.png", keys)
    phones(sitting, folder, covered)


def phones(sitting: Sitting, folder: Path, output: int) -> None:
    """The focus view and the table on a phone; the page for those who are not signed in."""
    known: Any = {"storage_state": sitting.contexts[0].storage_state(), "is_mobile": True, "has_touch": True}
    for theme in THEMES:
        how: Any = known | {"viewport": PHONE, "device_scale_factor": 2, "color_scheme": theme}
        page = sitting.browser.new_context(**how).new_page()
        take(page, f"{sitting.web.base}/outputs/{output}?reveal=1", folder / f"phone-focus-{theme}.png", (), "#main")
        take(page, f"{sitting.web.base}/bulk", folder / f"phone-bulk-{theme}.png", ())
        page.context.close()
        stranger: Any = {"viewport": SIZE, "color_scheme": theme}
        page = sitting.browser.new_context(**stranger).new_page()
        take(page, f"{sitting.web.base}/queue", folder / f"sign-in-{theme}.png", ())
        page.context.close()


def take(page: Page, address: str, path: Path, keys: tuple[str, ...], to: str | None = None) -> None:
    """Opens a page, presses keys, and keeps what is seen."""
    page.goto(address)
    page.wait_for_timeout(400)
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    page.evaluate("document.getElementById('toast') && (document.getElementById('toast').hidden = true)")
    if to:
        page.locator(to).evaluate("found => found.scrollIntoView()")
    page.wait_for_timeout(250)
    page.screenshot(path=path)
    print(path)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        database = open_database(f"sqlite:///{Path(home) / 'inkmill.db'}")
        outputs = set_up(database)
        web = Web(Path(home))
        web.start()
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        sitting = Sitting(browser, web, database, outputs)
        try:
            screenshots(sitting, folder)
        finally:
            sitting.close()
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
