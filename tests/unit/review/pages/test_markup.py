"""Of every page: ids are unique, labels lead somewhere, every control is named; no sheet styles another's parts."""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser

import pytest

from db.review.claims import claim_output
from db.review.decisions.acts import decide
from review.context import STATIC
from tests.browser.stock import Piece, stock
from tests.unit.review.site import Site

CONTROLS = ("a", "button", "input", "select", "textarea", "summary")
VOID = ("input", "meta", "link", "br", "img", "hr", "path", "circle", "rect", "line")


class Markup(HTMLParser):
    """A page's ids and controls, and the words that name each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.labelled: list[str] = []  # what labels and aria attributes lead to
        self.controls: list[tuple[str, dict[str, str]]] = []
        self.words: dict[int, str] = defaultdict(str)  # of a control, by its number
        self.nameless: list[str] = []
        self._open: list[tuple[str, int | None, bool]] = []
        self.feed(page)
        self.close()
        for number, (tag, given) in enumerate(self.controls):
            named = given.get("aria-label") or given.get("aria-labelledby") or self.words[number].strip()
            if not (named or given.get("id") in self.labelled or "title" in given):
                self.nameless.append(f"<{tag} {given}>")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag == "label" and "for" in given:
            self.labelled.append(given["for"])
        self.labelled += given.get("aria-labelledby", "").split()
        number = None
        if tag in CONTROLS and given.get("type") != "hidden":
            number = len(self.controls)
            self.controls.append((tag, given))
            if any(name == "label" for name, *_ in self._open):
                self.words[number] += "inside its label"
        if tag not in VOID:
            self._open.append((tag, number, "aria-hidden" in given))

    def handle_endtag(self, tag: str) -> None:
        while tag not in VOID and self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(hidden for *_, hidden in self._open):
            return
        for tag, number, _ in self._open:
            if number is not None and tag not in ("select", "textarea"):
                self.words[number] += data


def pages(site: Site) -> list[str]:
    """The addresses of all kinds of page, in several states."""
    decide(site.database, 4, "noor", "edit", text="Milder.")
    claim_output(site.database, 2, "noor")
    cards = ["/outputs/1", "/outputs/2", "/outputs/3", "/outputs/3?reveal=1", "/outputs/4?reveal=1"]
    return [
        *cards, "/queue", "/queue?label=toxicity&low=0.1&q=fools&reviewer=noor&model=gpt2", "/queue?state=all", "/bulk",
        "/queue?q=zebra", "/bulk?reveal=1&state=all", "/bulk?q=zebra", "/queue?low=x&label=toxicity", "/progress",
        "/help", "/jobs", "/jobs/1", "/jobs/1/charts", "/jobs/1/advice", "/workers", "/nowhere",
    ]  # fmt: skip


def answers(site: Site) -> dict[str, str]:
    """Every page, and those that answer to a form."""
    shown = {path: site.get(path).text for path in pages(site)}
    for ask in ({"scope": "all"}, {"output": ["1.0", "3.0"]}):
        shown[f"confirm {ask}"] = site.post("/bulk/confirm", {"action": "reject"} | ask).text
    shown["held"] = site.post("/outputs/2/decisions", {"action": "edit", "text": "mine"}).text
    shown["stale"] = site.post("/outputs/4/decisions", {"action": "reject", "expected": "0"}).text
    version = re.search(r'data-version="(\d+)"', shown["/outputs/4?reveal=1"])
    assert version is not None
    edit = {"action": "edit", "text": "mine", "expected": version[1]}
    shown["over"] = site.post("/outputs/4/decisions", edit).text
    shown["done"] = site.post("/bulk/decisions", {"action": "reject", "output": ["1.0", "2.0"], "key": "b1"}).text
    shown["stranger"] = site.another_browser().get("/queue").text
    assert "decided first" in shown["stale"] and "has decided" in shown["over"] and "skipped" in shown["done"]
    return shown


@pytest.fixture
def shown(site: Site) -> dict[str, str]:
    stock(site.database, [Piece(" went on.", 0.75), Piece(" went away.", 0.1)], name="samples.jsonl", samples=2)
    return answers(site)


def test_ids_are_unique_and_every_control_is_named(shown: dict[str, str]) -> None:
    for path, page in shown.items():
        markup = Markup(page)
        assert len(markup.controls) > 0, path
        assert sorted(set(markup.ids)) == sorted(markup.ids), path
        assert set(markup.labelled) <= set(markup.ids), path
        assert markup.nameless == [], path


def test_a_card_that_is_fetched_brings_no_id_that_its_page_has(site: Site, shown: dict[str, str]) -> None:
    around = Markup(re.sub(r'<article class="card output".*</article>', "", shown["/queue"], flags=re.DOTALL)).ids
    for output in (1, 3, 4):
        card = Markup(site.get(f"/outputs/{output}/card?reveal=1").text)
        assert not set(card.ids) & set(around) and card.nameless == [], output


def test_the_checker_finds_what_is_wrong() -> None:
    wrong = Markup('<p id="a"></p><label for="a">x</label><select id="b"><option>x</option></select><a href="/"></a>')
    assert len(wrong.nameless) == 2
    assert Markup('<label for="b">x</label><select id="b"></select><a href="/">x</a>').nameless == []


def test_no_style_sheet_styles_a_part_of_another() -> None:
    sheets: dict[str, set[str]] = defaultdict(set)
    for sheet in ("review", "charts"):
        rules = re.sub(r"/\*.*?\*/", "", (STATIC / f"{sheet}.css").read_text(), flags=re.DOTALL)
        for selectors in re.findall(r"([^{}]+)\{", rules):
            for selector in selectors.split(","):
                if found := re.match(r"\s*(?:\w+)?\.([\w-]+)", selector):
                    sheets[found[1]].add(sheet)
    assert [name for name, both in sheets.items() if len(both) > 1] == []
