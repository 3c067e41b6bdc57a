"""What the pages show: covers, hostile texts, views in the address, errors."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from contract.policy import ScoreBy
from db.jobs.jobs import cancel_job
from db.models import Output
from db.review.decisions.acts import decide
from db.session.engine import Database
from db.work.outputs import ScoredText, record_fault, save_scores
from db.work.request_claims import claim_request, save_words
from db.work.score_requests import mark_words
from review.preferences import Preferences, changed, read_preferences
from review.queue_view import read_view
from review.show.marks import Mark, laid_over
from review.show.text_markup import SHOWN_CHARACTERS, marked, visible
from tests.browser.stock import Piece, stock
from tests.unit.db.desk import Desk
from tests.unit.db.mill import Mill, text_of
from tests.unit.review.site import Site, words_of

SECRET = "said something that nobody should read by accident"


def test_a_covered_text_is_nowhere_in_the_page(site: Site) -> None:
    for path in ("/queue", "/outputs/3", "/outputs/3/card", "/bulk", "/bulk?q=accident", "/queue/rail"):
        assert SECRET not in site.get(path).text, path
    assert SECRET not in site.ask("/queue/next").json()["card"]
    assert SECRET in site.get("/outputs/3?reveal=1").text
    assert "Covered." in site.get("/outputs/3").text


def test_a_text_that_is_still_to_be_scored_is_covered_wherever_it_is_listed(both: Site, mill: Mill) -> None:
    mill.submit(1)
    claim = mill.claim()
    mill.save(claim, [text_of(work, index, f" {SECRET}") for work, index in mill.missing(claim)])
    for path in ("/outputs/5", "/bulk?state=unflagged", "/bulk?state=all"):
        shown = both.get(path).text
        assert "/outputs/5" in shown, path
        assert SECRET not in shown, path


def test_how_much_is_covered_is_the_reviewers_choice(site: Site) -> None:
    site.post("/preferences", {"cover": "2"})
    assert SECRET in site.get("/outputs/3").text
    site.post("/preferences", {"cover": "0"})
    assert "all fools" not in site.get("/outputs/2").text


def test_a_text_that_nobody_scored_is_covered() -> None:
    assert Preferences().covers(None, scored=False)
    assert not Preferences().covers(None, scored=True)


def test_looks_survive_in_the_cookie_and_nonsense_does_not() -> None:
    wanted = changed(Preferences(), {"theme": "dark", "keys": "off", "cover": "0.5"})
    assert read_preferences(wanted.cookie()) == wanted
    assert read_preferences("theme=<script>&cover=nan&keys=5") == Preferences()


def test_switched_off_keys_stay_off(site: Site) -> None:
    assert 'data-keys="on"' in site.get("/queue").text
    site.post("/preferences", {"keys": "off"})
    assert 'data-keys="off"' in site.get("/queue").text


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202egnp.exe\x1b[31m\x00\u200b'\"&{{7*7}}"


def test_a_hostile_text_is_text_on_every_page(one_database: Database) -> None:
    stock(one_database, [Piece(HOSTILE, 0.75, prompt=HOSTILE)] * 2, name=HOSTILE.replace("\0", ""), samples=2)
    site = Site(one_database).sign_in()
    site.ask("/outputs/1/decisions", {"action": "reject", "reason": HOSTILE.replace("\x1b", "").replace("\0", "")})
    paths = ["/queue", "/outputs/1", "/outputs/2", "/bulk", "/bulk?state=all", "/queue?q=%3Cscript%3Ealert", "/jobs"]
    paths += [
        "/jobs/1",
        "/queue?reviewer=%3Cscript%3E",
        "/queue?reason=%3Cscript%3E",
        "/queue?model=%22%3E%3Cscript%3E",
    ]
    for path in paths:
        markup = site.get(path).text
        assert "<script>" not in markup and "<img" not in markup, path
        # Where a text is edited it stands as it is, in a field of its own direction.
        assert "\u202e" not in re.sub("<textarea.*?</textarea>", "", markup, flags=re.DOTALL), path
        assert "{{7*7}}" in markup or "49" not in words_of(markup), path


@pytest.mark.parametrize(
    "unseen", ["\u202e", "\u2066", "\x1b", "\x00", "\x85", "\u200b", "\u200f", "\U000e0041", "\ufeff", "\r"]
)
def test_what_cannot_be_seen_is_shown_by_its_code(unseen: str) -> None:
    shown = str(visible(f"a{unseen}b"))
    assert unseen not in shown
    assert f"U+{ord(unseen):04X}" in shown


@pytest.mark.parametrize("kept", ["👩‍👩‍👧", "می‌خواهم", "a\tb\nc", "עברית", "é"])
def test_joiners_emoji_and_right_to_left_stay_whole(kept: str) -> None:
    assert str(visible(kept)) == kept


def test_marks_that_overlap_or_lie_outside_are_left_out() -> None:
    shown = marked("a <b> c", [(2, 5), (3, 6), (6, 99), (4, 4)])
    assert shown == 'a <mark class="hit">&lt;b&gt;</mark> c'


def test_a_long_text_is_shown_in_parts(one_database: Database) -> None:
    stock(one_database, [Piece("x" * 100_000, 0.75)])
    site = Site(one_database).sign_in()
    part, whole = site.get("/outputs/1").text, site.get("/outputs/1?reveal=1&full=1").text
    assert part.count("x" * SHOWN_CHARACTERS) >= 1
    assert "Show all 100,000 characters" in words_of(part)
    assert len(whole) > len(part) + 50_000


def test_a_card_says_what_was_copied_where_it_is_much(site: Site) -> None:
    for copied, said in ((None, False), (31, False), (32, True)):
        with site.database.write() as connection:
            connection.execute(update(Output).where(Output.id == 2).values(copied_tokens=copied))
        page = words_of(site.get("/outputs/2").text)
        assert ("Copied: 32 tokens in a row stand word for word in what the model was tuned with." in page) is said


def test_a_views_address_is_short_and_the_same_for_everybody(site: Site) -> None:
    answer = site.get("/queue?q=&state=pending&job=1&label=toxicity&low=0.7&high=&reason=&order=score&after=3")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/queue?job=1&label=toxicity&low=0.7&after=3"


def test_filters_filter(site: Site) -> None:
    def outputs(path: str) -> list[int]:
        markup = site.get(path).text
        return [number for number in (1, 2, 3, 4) if f'<tr data-output="{number}"' in markup]

    assert outputs("/bulk") == [2, 3, 4]
    assert outputs("/bulk?label=toxicity&low=0.74&high=0.9") == [2]
    assert outputs("/bulk?state=unflagged") == [1]
    assert outputs("/bulk?job=99") == []
    site.ask("/outputs/2/decisions", {"action": "approve"})
    assert outputs("/bulk?state=approved&reviewer=mara") == [2]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=burnt", "not one of pending"),
        ("label=toxcity&low=0.5", "did you mean toxicity"),
        ("job=x", "not a whole number"),
        ("label=toxicity&low=nine", "not a number"),
        ("label=toxicity&low=7", "from 0 to 1"),
        ("cursor=%00%ff", "Invalid request"),
        ("q=...", "no word"),
        ("order=best", "not one of score"),
    ],
)
def test_an_address_that_makes_no_sense_says_why(site: Site, query: str, said: str) -> None:
    answer = site.get(f"/queue?{query}")
    assert answer.status_code == 400
    assert said in words_of(answer.text)


@pytest.mark.parametrize("path", ["/queue", "/bulk", "/outputs/2", "/progress"])
def test_a_bad_filter_keeps_the_rest_of_the_view(site: Site, path: str) -> None:
    answer = site.get(f"{path}?job=1&label=toxicity&low=nine&state=flagged&order=best&q=...")
    said = words_of(answer.text)
    assert answer.status_code == 400
    assert all(words in said for words in ("not a number", "not one of score", "no word"))
    assert "state=flagged" in answer.text and "job=1" in answer.text and "label=toxicity" in answer.text
    assert not any("nine" in link for link in re.findall(r'href="([^"]*)"', answer.text))


def test_a_bad_filter_decides_nothing(site: Site) -> None:
    answer = site.post("/bulk/confirm", {"action": "reject", "scope": "all", "view": "job=x&state=flagged"})
    assert answer.status_code == 400 and "not a whole number" in words_of(answer.text)


@pytest.mark.parametrize(
    ("query", "offered"),
    [
        ("", {"score", "oldest", "random"}),
        ("label=insult", {"score", "label", "oldest", "random"}),
        ("state=all", set()),
        ("state=unflagged&label=insult&low=0.1", set()),
        ("state=all&q=fools", set()),
        ("state=flagged&q=fools", {"score", "oldest", "random"}),
        ("state=all&order=random", set()),
        ("order=label", {"score", "oldest", "random"}),
    ],
)
def test_only_orders_and_ranges_that_have_an_effect_are_offered(site: Site, query: str, offered: set[str]) -> None:
    for path in ("/queue", "/bulk"):
        page = site.get(f"{path}?{query}").text
        form = page[page.index('<form class="filters"') : page.index("</form>", page.index('<form class="filters"'))]
        found = re.search(r'<select id="order".*?</select>', form, re.DOTALL)
        assert set(re.findall(r'value="(\w+)"', found[0] if found else "")) == offered, path
        assert ('name="low"' in form) == ("label=insult" in query), path


def test_an_order_without_effect_stays_in_no_address() -> None:
    for given in ({"state": "all", "order": "random"}, {"state": "unflagged", "order": "label", "label": "insult"}):
        view = read_view(given)
        assert not view.values["order"]
        assert view.filter.order in view.filter.orders


@pytest.mark.parametrize(("state", "without"), [("approved", "approve"), ("rejected", "reject"), ("decided", None)])
def test_the_table_offers_no_decision_that_stands_already(site: Site, state: str, without: str | None) -> None:
    site.ask("/outputs/2/decisions", {"action": "approve"})
    site.ask("/outputs/4/decisions", {"action": "reject"})
    buttons = set(re.findall(r'name="action" value="(\w+)"', site.get(f"/bulk?state={state}").text))
    assert buttons == {"approve", "reject"} - {without}


def test_a_range_without_its_label_is_no_error(site: Site) -> None:
    assert read_view({"low": "0.5", "order": "label"}).parameters == ()
    assert site.get("/bulk?low=0.5&order=label").status_code == 200


@pytest.mark.parametrize(
    "path", ["/outputs/99", "/outputs/x", "/nowhere", "/outputs/99/card", "/outputs/99/changes", "/outputs/" + "9" * 30]
)
def test_what_is_not_there_has_a_page_that_says_so(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code in (400, 404)
    assert "Back to the queue" in answer.text


def test_an_empty_queue_says_what_to_do(one_database: Database) -> None:
    site = Site(one_database).sign_in()
    for path in ("/queue", "/bulk", "/jobs"):
        said = words_of(site.get(path).text)
        assert "No jobs yet" in said and "inkmill run" in said, path
    assert "No jobs yet" in site.ask("/queue/next").json()["card"]
    assert "Nothing left in this view" in words_of(site.get("/bulk?label=insult").text)
    stock(one_database, [Piece(" lived by the sea.", 0.1)])
    assert "Nothing left to review" in words_of(site.get("/queue").text)


def test_a_database_that_is_away_is_said_and_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from contract.errors import DatabaseUnreachable

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnreachable("the database does not answer: connection refused")

    monkeypatch.setattr("review.pages.decision.decide", away)
    answer = site.ask("/outputs/3/decisions", {"action": "reject"})
    assert answer.status_code == 503
    assert "Nothing was lost" in answer.json()["message"]


def test_progress_counts_what_was_decided(site: Site) -> None:
    site.ask("/outputs/3/decisions", {"action": "reject"})
    shown = site.get("/progress").text
    assert '<dd data-figure="mine">1</dd>' in shown and '<dd data-figure="left">2</dd>' in shown


def test_left_is_what_nobody_has_decided_whatever_is_shown(site: Site) -> None:
    site.ask("/outputs/3/decisions", {"action": "reject"})
    for state, left in (("flagged", 2), ("decided", 0), ("rejected", 0), ("all", 3), ("unflagged", 1)):
        assert f'<dd data-figure="left">{left}</dd>' in site.get(f"/progress?state={state}").text, state
    assert "of 1 matching" in words_of(site.get("/bulk?state=decided").text)


def test_progress_says_whose_median_it_is(site: Site) -> None:
    decide(site.database, 2, "noor", "approve")
    assert "Everyone’s median" in words_of(site.get("/progress").text)
    site.ask("/claims", {"output": "4"})
    site.ask("/outputs/4/decisions", {"action": "reject"})
    assert "Your median" in words_of(site.get("/progress").text)


def test_a_bar_has_a_segment_for_each_fate_of_a_prompt(mill: Mill) -> None:
    job = mill.submit(6, batch_size=2, safety="none")
    claim = mill.claim()
    record_fault(mill.database, claim, mill.missing(claim)[0][0].prompt_id, "too long", number=1, certain=True)
    mill.finish(claim)
    site = Site(mill.database).sign_in()
    assert segments(site.get(f"/jobs/{job}").text) == {"done": 1, "failed": 1, "left": 4}
    cancel_job(mill.database, job)
    for path in (f"/jobs/{job}", "/jobs"):
        shown = segments(site.get(path).text)
        assert shown == {"done": 1, "failed": 1, "cancelled": 4}, path


def segments(page: str) -> dict[str, int]:
    """A bar's segments with their prompts; each as wide as its share."""
    found = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)" height="4"><title>(\d+) (\w+)', page)
    assert [float(x) for _, x, *_ in found] == pytest.approx([sum(float(w) for _, _, w, *_ in found[:i])
                                                              for i in range(len(found))], abs=0.01)  # fmt: skip
    assert sum(float(width) for _, _, width, *_ in found) == pytest.approx(100, abs=0.1)
    return {name: int(count) for name, _, _, count, _ in found}


def test_the_sentence_behind_the_score_is_named_but_not_of_a_covered_text(mill: Mill) -> None:
    job = mill.submit(1, score_by=ScoreBy.SENTENCE)
    claim = mill.claim()
    mill.save(claim, [text_of(work, index, "It rained. <b>You fool!</b>") for work, index in mill.missing(claim)])
    mill.finish(claim)
    scoring = mill.claim_texts()
    (output,) = [row.id for row in mill.outputs(job)]
    scores = {"toxicity": 0.95, "insult": 0.8, "threat": 0.1}
    verdict = ScoredText(output_id=output, scores=scores, deciding=dict.fromkeys(scores, (11, 27)))
    made_by = {"classifier": "demo", "classifier_revision": "c", "score_by": ScoreBy.SENTENCE}
    save_scores(mill.database, scoring, [verdict], (), **made_by)  # type: ignore[arg-type]
    site = Site(mill.database).sign_in()
    assert "fool" not in site.get(f"/outputs/{output}").text
    shown = site.get(f"/outputs/{output}?reveal=1").text
    assert '<q dir="auto">&lt;b&gt;You fool!&lt;/b&gt;</q>' in shown
    assert "toxicity 0.95, insult 0.80</span>" in shown  # and not the threat, for which nothing is flagged
    assert "by sentence" in words_of(site.get(f"/jobs/{job}").text)


def words_at(site: Site, output: int) -> str:
    """The card's text, and what it says of the words behind the score."""
    shown = site.get(f"/outputs/{output}?reveal=1").text
    return shown[shown.index('<div class="text body"') : shown.index('<div class="text-actions">')]


def test_words_that_carry_a_score_name_their_label_and_small_drops_are_not_marked(one_database: Database) -> None:
    desk = Desk(one_database)
    (output,) = desk.outputs_of([{"toxicity": 0.9, "threat": 0.8}], ["go away or burn, please"])
    mark_words(one_database, output)
    claim = claim_request(one_database, "w", ["demo"], 60)
    assert claim is not None
    spans = [(0, 2), (3, 7), (8, 10), (11, 16), (17, 23)]
    drops = {"toxicity": [0.04, 0.2, 0.0, 0.1, -0.3], "threat": [0.0, 0.1, 0.01, 0.6, 0.0]}
    save_words(one_database, claim, spans, drops)
    shown = words_at(Site(one_database).sign_in(), output)
    assert (
        'go <mark class="weak" title="toxicity: −0.20 without it">away</mark> or '
        '<mark class="strong" title="threat: −0.60 without it">burn,</mark> please</div>'
    ) in shown
    assert "burn, threat −0.60 away toxicity −0.20" in words_of(shown)


def test_where_no_word_carries_a_score_it_says_so_and_marks_the_blocklist_all_the_same(
    one_database: Database,
) -> None:
    desk = Desk(one_database)
    texts = ["A TOADSTOOL, a fool; <toad> & straße"]
    (output,) = desk.outputs_of([0.1], texts, blocklist=("toad*", "STRASSE", "cat"))
    site = Site(one_database).sign_in()
    listed = (
        'A <mark class="listed" title="blocklist: toad*">TOADSTOOL</mark>, a fool; '
        '&lt;<mark class="listed" title="blocklist: toad*">toad</mark>&gt; &amp; '
        '<mark class="listed" title="blocklist: STRASSE">straße</mark></div>'
    )
    before = words_at(site, output)
    assert listed in before and "Framed : on this job’s blocklist ( toad* , STRASSE )" in words_of(before)
    mark_words(one_database, output)
    claim = claim_request(one_database, "w", ["demo"], 60)
    assert claim is not None
    save_words(one_database, claim, [(0, 11), (12, 13)], {"toxicity": [0.03, 0.049]})
    after = words_at(site, output)
    assert listed in after and "No single word carries a score, so none is marked" in words_of(after)


def test_a_blocklisted_word_is_marked_inside_words_that_carry_a_score() -> None:
    listed = [Mark(4, 8, "listed"), Mark(20, 24, "listed")]
    laid = laid_over(listed, [Mark(2, 10, "strong", "threat"), Mark(20, 24, "weak"), Mark(30, 33, "hit")])
    assert [(mark.start, mark.end, mark.kind) for mark in laid[2:]] == [
        (2, 4, "strong"),
        (8, 10, "strong"),
        (30, 33, "hit"),
    ]
