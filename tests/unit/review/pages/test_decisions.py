"""Deciding through the page's forms and its script's requests, on both databases."""

from __future__ import annotations

import re

import pytest

from contract.review import State
from db.review.claims import claim_output
from db.review.decisions.acts import decide
from db.review.detail import read_output
from review.show.selection import packed
from tests.browser.stock import stock
from tests.unit.review.conftest import PIECES
from tests.unit.review.site import Site, words_of


def state(site: Site, output: int) -> State:
    return read_output(site.database, output).state


def selection(page: str) -> str:
    """What a page of confirmation counted, as its form carries it."""
    found = re.search(r'name="selection" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_form_decides_and_goes_on_to_the_next(both: Site) -> None:
    answer = both.post("/outputs/3/decisions", {"action": "reject", "reason": "rude", "expected": "0", "key": "k1"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/queue?after=3"
    entry = read_output(both.database, 3).history[-1]
    assert (entry.reviewer, entry.reason, entry.to_state) == ("mara", "rude", State.REJECTED)
    onwards = both.get(answer.headers["location"])
    assert "Output 3 is rejected." in words_of(onwards.text)
    assert 'data-output="2"' in onwards.text


def test_the_same_decision_sent_twice_is_stored_once(both: Site) -> None:
    fields = {"action": "approve", "expected": "0", "key": "k1"}
    first, second = (both.ask("/outputs/2/decisions", fields) for _ in range(2))
    assert first.json() == second.json()
    assert first.json()["state"] == "approved"
    assert len(read_output(both.database, 2).history) == 1


def test_a_stale_decision_is_refused_with_what_the_other_one_decided(both: Site) -> None:
    decide(both.database, 2, "noor", "approve")
    as_script = both.ask("/outputs/2/decisions", {"action": "reject", "expected": "0", "key": "k1"})
    assert as_script.status_code == 409
    assert "noor set it to approved" in as_script.json()["message"]
    as_form = both.post("/outputs/2/decisions", {"action": "edit", "text": "my own words", "expected": "0"})
    assert as_form.status_code == 409
    assert "noor decided first" in words_of(as_form.text)
    assert "my own words" in as_form.text, "what was typed must not be lost"
    assert state(both, 2) is State.APPROVED


def test_what_somebody_has_in_hand_is_refused_and_passed_over(both: Site) -> None:
    claim_output(both.database, 3, "noor")
    answer = both.ask("/outputs/3/decisions", {"action": "reject"})
    assert answer.status_code == 409 and answer.json()["error"] == "claimed"
    assert "noor is reviewing this output" in words_of(both.get("/outputs/3").text)
    assert 'id="output-title"' in both.get("/queue").text
    assert 'data-output="3" data-version' not in both.get("/queue").text, "the queue opens one that is free"
    assert both.ask("/claims", {"output": "3"}).json() == {"lost": {"3": "noor"}}


def test_undo_takes_back_the_last_one_or_the_one_that_is_named(both: Site) -> None:
    for output in (3, 2, 4):
        both.ask(f"/outputs/{output}/decisions", {"action": "reject"})
    assert both.ask("/undo").json()["output"] == 4
    assert both.ask("/undo", {"output": "3"}).json()["outcome"] == "open again"
    assert [state(both, output) for output in (2, 3, 4)] == [State.REJECTED, State.PENDING, State.PENDING]
    as_form = both.post("/undo")
    assert as_form.headers["location"] == "/outputs/2"
    assert both.ask("/undo").status_code == 400


def test_an_edited_text_waits_for_a_worker_and_the_page_says_so(both: Site) -> None:
    both.ask("/outputs/4/decisions", {"action": "edit", "text": "A milder text.", "expected": "0"})
    shown = words_of(both.get("/outputs/4?reveal=1").text)
    assert state(both, 4) is State.WAITING
    assert "waiting for a worker" in shown and "A milder text." in shown
    assert "Original text" in shown


def test_the_words_that_carry_the_score_wait_for_a_worker(both: Site) -> None:
    answer = both.ask("/outputs/4/words")
    assert answer.json() == {"status": "waiting", "served": False}
    assert "waiting for a worker" in words_of(both.get("/outputs/4").text)


def test_many_are_counted_first_and_decided_once(both: Site) -> None:
    asked = both.post("/bulk/confirm", {"action": "reject", "scope": "all"})
    assert "Reject 3 outputs?" in words_of(asked.text)
    assert state(both, 3) is State.PENDING
    done = both.post(
        "/bulk/decisions", {"action": "reject", "scope": "all", "selection": selection(asked.text), "key": "b1"}
    )
    assert "3 outputs rejected" in words_of(done.text)
    assert [state(both, output) for output in (1, 2, 3, 4)] == [State.UNFLAGGED, *[State.REJECTED] * 3]
    undone = both.post("/bulk/undo", {"of": "b1", "key": "b2"})
    assert "3 decisions undone" in words_of(undone.text)
    assert state(both, 2) is State.PENDING


def test_what_was_not_counted_is_not_decided(both: Site) -> None:
    asked = both.post("/bulk/confirm", {"action": "approve", "scope": "all"})
    decide(both.database, 2, "noor", "reject")
    stock(both.database, PIECES[1:2], name="later.jsonl")
    done = both.post(
        "/bulk/decisions", {"action": "approve", "scope": "all", "selection": selection(asked.text), "key": "b1"}
    )
    assert "2 outputs approved" in words_of(done.text) and "1 skipped" in words_of(done.text)
    assert [state(both, output) for output in (2, 3, 4, 5)] == [
        State.REJECTED, State.APPROVED, State.APPROVED, State.PENDING
    ]  # fmt: skip


@pytest.mark.parametrize("damaged", ["", "3", "eJw", packed({2: 0})[:-6], packed({2**63: 0})])
def test_a_damaged_selection_decides_nothing(site: Site, damaged: str) -> None:
    answer = site.post("/bulk/decisions", {"action": "reject", "scope": "all", "selection": damaged, "key": "b1"})
    assert answer.status_code == 400 and "selection: " in answer.text
    assert state(site, 2) is State.PENDING


def test_ticked_ones_that_changed_meanwhile_are_passed_over(both: Site) -> None:
    decide(both.database, 2, "noor", "approve")
    answer = both.post("/bulk/decisions", {"action": "reject", "output": ["2.0", "3.0"], "key": "b1"})
    assert "1 output rejected" in words_of(answer.text) and "1 skipped" in words_of(answer.text)
    assert (state(both, 2), state(both, 3)) == (State.APPROVED, State.REJECTED)


def test_nothing_chosen_is_an_error_that_says_what_to_do(both: Site) -> None:
    answer = both.post("/bulk/confirm", {"action": "reject"})
    assert answer.status_code == 400
    assert "tick some rows" in answer.text


def test_the_next_one_is_claimed_and_comes_with_its_card(both: Site) -> None:
    answer = both.ask("/queue/next", {"after": "3"}).json()
    assert answer["output"] == 2
    assert "shouted that they were all fools" in answer["card"]
    holder = read_output(both.database, 2).claim
    assert holder is not None and holder.reviewer == "mara"
    both.ask("/claims/release", {"output": "2"})
    assert read_output(both.database, 2).claim is None


def test_the_audit_share_mixes_in_what_was_not_flagged(both: Site) -> None:
    audited = Site(both.database, audit_share=0.999).sign_in()
    assert audited.ask("/queue/next").json()["output"] == 1


def test_a_search_finds_and_marks_its_words(both: Site) -> None:
    shown = both.get("/bulk?q=fools").text
    assert '<mark class="hit">fools</mark>' in shown
    assert 'data-output="2"' in shown and 'data-output="4"' not in shown
    assert '<mark class="hit">fools</mark>' in both.get("/outputs/2?q=fools").text


@pytest.mark.parametrize("path", ["/queue", "/bulk"])
def test_a_search_without_a_hit_says_so_and_how_many_there_are_in_everything(both: Site, path: str) -> None:
    said = words_of(both.get(f"{path}?q=quietly").text)
    assert "Nothing left in this view matches “ quietly ”" in said
    assert "Among all outputs, whatever their state, 1 has them" in said
    assert "/queue?q=quietly&amp;state=all" in both.get(f"{path}?q=quietly").text
    assert 'data-output="1"' in both.get(f"{path}?q=quietly&state=all").text
    nowhere = words_of(both.get(f"{path}?q=zebra&state=all").text)
    assert "Nothing matches “ zebra ”" in nowhere and "its custom_id or its metadata" in nowhere


def test_what_a_search_finds_by_its_custom_id_or_its_metadata_is_marked_there(both: Site) -> None:
    assert '<mark class="hit">r</mark>-<mark class="hit">1</mark>' in both.get("/outputs/2?q=r-1").text
    assert '<mark class="hit">r</mark>-<mark class="hit">1</mark>' in both.get("/bulk?q=r-1").text
    shown = both.get("/outputs/2?q=topic:town").text
    assert "<summary>Metadata</summary>" in shown
    assert '<mark class="hit">town</mark>' in both.get("/outputs/2?q=town").text


def test_an_audited_text_shows_what_the_classifier_said_once_it_is_decided(both: Site) -> None:
    audited = Site(both.database, audit_share=0.999).sign_in()
    drawn = audited.ask("/queue/next").json()
    assert drawn["output"] == 1
    for shown in (drawn["card"], audited.get("/outputs/1").text, audited.get("/outputs/1/card?reveal=1").text):
        assert "drawn for an audit" in shown and "quietly by the sea" in shown
        article = shown[shown.index("<article") : shown.index("</article>")]
        assert "bar-score" not in article and "not flagged" not in article and "data-words" not in article
    audited.ask("/outputs/1/decisions", {"action": "approve", "seen": "shown"})
    after = audited.get("/outputs/1").text
    assert "drawn for an audit" not in after and "bar-score" in after
