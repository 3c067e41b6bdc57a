"""Covered texts are revealed before they are approved, many are counted, and the record keeps how each was seen."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from contract.review import Seen, State
from db.models import Prompt
from db.review.claims import claim_output, release_output
from db.review.decisions.acts import decide
from db.review.detail import read_output
from review.show.selection import packed
from tests.browser.stock import Piece, stock
from tests.unit.review.site import Site, words_of

COVERED, OPEN = 3, 2
SECRET = "nobody should read by accident"


def state(site: Site, output: int) -> State:
    return read_output(site.database, output).state


def seen(site: Site, output: int) -> Seen | None:
    return read_output(site.database, output).history[-1].seen


def fields(page: str, output: int, path: str = "decisions") -> dict[str, str]:
    """The hidden fields of a card's form."""
    start = page.index(f'action="/outputs/{output}/{path}" class="decide-form"')
    form = page[start : page.index("</form>", start)]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))


@pytest.mark.parametrize("said", [{}, {"seen": "covered"}, {"seen": "unopened"}, {"seen": ""}])
def test_a_covered_text_cannot_be_approved_unseen(both: Site, said: dict[str, str]) -> None:
    asked = both.ask(f"/outputs/{COVERED}/decisions", {"action": "approve", "expected": "0"} | said)
    assert asked.status_code == 409 and "reveal it" in asked.json()["message"]
    answer = both.post(f"/outputs/{COVERED}/decisions", {"action": "approve", "expected": "0"} | said)
    assert answer.status_code == 303 and answer.headers["location"] == f"/outputs/{COVERED}"
    page = both.get(f"/outputs/{COVERED}").text
    assert "reveal it and read it before you approve it" in words_of(page) and SECRET not in page
    assert state(both, COVERED) is State.PENDING


def test_a_revealed_text_is_approved_and_the_record_says_so(both: Site) -> None:
    page = both.get(f"/outputs/{COVERED}?reveal=1").text
    both.post(f"/outputs/{COVERED}/decisions", fields(page, COVERED) | {"action": "approve"})
    assert (state(both, COVERED), seen(both, COVERED)) == (State.APPROVED, Seen.REVEALED)
    assert "covered, revealed" in words_of(both.get(f"/outputs/{COVERED}").text)


def test_a_covered_text_may_be_rejected_unread_and_the_record_says_so(both: Site) -> None:
    both.post(
        f"/outputs/{COVERED}/decisions", fields(both.get(f"/outputs/{COVERED}").text, COVERED) | {"action": "reject"}
    )
    both.post(f"/outputs/{OPEN}/decisions", fields(both.get(f"/outputs/{OPEN}").text, OPEN) | {"action": "approve"})
    assert (seen(both, COVERED), seen(both, OPEN)) == (Seen.COVERED, Seen.SHOWN)
    assert "covered, not revealed" in words_of(both.get(f"/outputs/{COVERED}").text)


def test_whoever_hides_nothing_approves_at_once(site: Site) -> None:
    site.post("/preferences", {"cover": "2"})
    assert site.ask(f"/outputs/{COVERED}/decisions", {"action": "approve"}).status_code == 200


def test_how_it_was_seen_is_one_of_a_few_words(site: Site) -> None:
    answer = site.ask(f"/outputs/{OPEN}/decisions", {"action": "approve", "seen": "askance"})
    assert answer.status_code == 400 and "seen: " in answer.json()["message"]


def test_the_table_reveals_a_page_at_once(both: Site) -> None:
    page = both.get("/bulk").text
    assert SECRET not in page and "Reveal 1 covered" in words_of(page)
    link = re.search(r'href="([^"]*)" data-reveal-page', page)
    assert link is not None
    revealed = both.get(link[1]).text
    assert SECRET in revealed and 'data-seen="revealed"' in revealed and 'data-covered="yes"' not in revealed
    assert "data-reveal-page" not in both.get("/bulk?state=unflagged").text


def confirmed(site: Site, path: str, **more: str) -> str:
    """The page that asks before all of a table are decided, as its form leads there."""
    page = site.get(path).text
    sent = dict(re.findall(r'<input type="hidden" name="(listed|revealed|view)" value="([^"]*)"', page))
    return str(site.post("/bulk/confirm", sent | {"action": "approve", "scope": "all"} | more).text)


def test_a_decision_of_many_says_how_many_are_covered_and_never_opened(both: Site) -> None:
    stock(both.database, [Piece(f" is very rude, {i}.", 0.9) for i in range(3)])
    assert "4 covered, 4 never opened" in words_of(confirmed(both, "/bulk"))
    assert "4 covered, 0 never opened" in words_of(confirmed(both, "/bulk?reveal=1"))
    unlisted = both.post("/bulk/confirm", {"action": "reject", "scope": "all", "view": "state=all"})
    assert "4 covered, 1 never opened" in words_of(unlisted.text)


def test_what_was_opened_alone_is_not_counted_as_never_opened(both: Site) -> None:
    both.ask("/claims", {"looked": str(COVERED), "seen": "revealed"})
    asked = both.post("/bulk/confirm", {"action": "reject", "output": ["2.0", "3.0", "4.0"]})
    assert "1 covered, 2 never opened" in words_of(asked.text)
    site = Site(both.database).sign_in()
    other = site.post("/bulk/confirm", {"action": "reject", "output": ["3.0"]})
    assert "1 covered, 0 never opened" in words_of(other.text), "looks are the reviewer's, not the browser's"


def test_a_text_that_was_edited_since_was_never_opened(both: Site) -> None:
    both.ask("/claims", {"looked": str(OPEN), "seen": "shown"})
    decide(both.database, OPEN, "noor", "edit", text="another text")
    version = read_output(both.database, OPEN).version
    asked = both.post("/bulk/confirm", {"action": "reject", "output": [f"{OPEN}.{version}"]})
    assert "1 covered, 1 never opened" in words_of(asked.text)


def test_each_of_many_keeps_how_it_was_seen(both: Site) -> None:
    both.ask("/claims", {"looked": "4", "seen": "shown"})
    both.ask("/claims", {"listed": packed({2: 0})})
    both.post("/bulk/decisions", {"action": "reject", "output": ["1.0", "2.0", "3.0", "4.0"], "key": "b1"})
    assert [seen(both, output) for output in (1, 2, 3, 4)] == [
        Seen.UNOPENED, Seen.LISTED, Seen.COVERED, Seen.SHOWN
    ]  # fmt: skip


def test_a_lesser_look_does_not_replace_a_fuller_one(both: Site) -> None:
    for look in ({"looked": "3", "seen": "revealed"}, {"looked": "3", "seen": "shown"}, {"listed": packed({3: 0})}):
        both.ask("/claims", look)
    both.post("/bulk/decisions", {"action": "reject", "output": ["3.0"], "key": "b1"})
    assert seen(both, 3) is Seen.REVEALED


@pytest.mark.parametrize("look", [{"looked": "99", "seen": "shown"}, {"looked": "3", "seen": "x"}, {"listed": "x"}])
def test_a_look_at_nothing_is_refused(site: Site, look: dict[str, str]) -> None:
    assert site.ask("/claims", look).status_code in (400, 404)
    assert site.ask("/claims", {"listed": packed({98: 0, 99: 0})}).status_code == 200


def test_a_text_that_a_colleague_has_open_is_read_only(both: Site) -> None:
    claim_output(both.database, OPEN, "noor")
    page = both.get(f"/outputs/{OPEN}").text
    assert "all fools" in page and "noor is reviewing this output" in words_of(page)
    assert f'action="/outputs/{OPEN}/decisions"' not in page and 'action="/undo"' not in page
    release_output(both.database, OPEN, "noor")
    assert f'action="/outputs/{OPEN}/decisions"' in both.get(f"/outputs/{OPEN}").text


def test_an_edit_that_waits_for_scores_offers_no_approval(both: Site) -> None:
    both.ask("/outputs/4/decisions", {"action": "edit", "text": "A milder text.", "expected": "0"})
    page = both.get("/outputs/4?reveal=1").text
    assert 'value="approve"' not in page and 'value="reject"' in page


@pytest.mark.parametrize("action", ["approve", "reject", "edit"])
def test_deciding_over_a_colleague_asks_once(both: Site, action: str) -> None:
    version = str(decide(both.database, OPEN, "noor", "reject" if action == "approve" else "approve").version)
    wanted = {"action": action, "expected": version, "reason": "I disagree", "key": "k1"}
    wanted |= {"text": "my words"} if action == "edit" else {}
    as_script = both.ask(f"/outputs/{OPEN}/decisions", wanted)
    assert as_script.status_code == 409 and as_script.json()["error"] == "decided"
    asked = both.post(f"/outputs/{OPEN}/decisions", wanted)
    assert asked.status_code == 409 and "noor has decided this output" in words_of(asked.text)
    assert len(read_output(both.database, OPEN).history) == 1
    again = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked.text)) | {"csrf": both.csrf}
    again |= {"text": "my words"} if action == "edit" else {}
    assert both.post(f"/outputs/{OPEN}/decisions", again).status_code == 303
    entry = read_output(both.database, OPEN).history[-1]
    assert (entry.reviewer, entry.reason, entry.text) == ("mara", "I disagree", wanted.get("text"))
    own = {"action": "reject", "expected": str(entry.id)}
    if action != "reject":
        assert both.post(f"/outputs/{OPEN}/decisions", own).status_code == 303, "her own she changes at once"


def test_undoing_a_colleagues_decision_asks_once(both: Site) -> None:
    version = str(decide(both.database, OPEN, "noor", "approve").version)
    undo = {"output": str(OPEN), "expected": version}
    assert both.ask("/undo", undo).status_code == 409
    asked = both.post("/undo", undo)
    assert "Undo the decision on output 2" in words_of(asked.text) and state(both, OPEN) is State.APPROVED
    assert both.post("/undo", undo | {"over": version}).status_code == 303
    assert state(both, OPEN) is State.PENDING


def test_a_decision_of_many_says_whose_it_replaces(both: Site) -> None:
    version = decide(both.database, OPEN, "noor", "approve").version
    asked = both.post("/bulk/confirm", {"action": "reject", "output": [f"{OPEN}.{version}", "4.0"]})
    assert "noor has decided 1 of them" in words_of(asked.text)


def test_messages_are_read_as_one_text_and_what_was_sent_stands_beside_them(both: Site) -> None:
    with both.database.write() as connection:
        connection.execute(
            update(Prompt).values(prompt="user: Who?", messages=[], sent="<|im_start|>user\nWho?<|im_end|>")
        )
    page = both.get(f"/outputs/{OPEN}").text
    assert "user: Who?" in page
    assert "&lt;|im_start|&gt;user\nWho?&lt;|im_end|&gt;" in page
