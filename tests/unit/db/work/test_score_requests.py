"""Score requests: claimed once, fenced, given up at the third attempt, and shown as they stand."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import update

from contract.errors import UsageError
from contract.review import State
from db.review.decisions.acts import decide, undo
from db.review_models import ScoreRequest
from db.work.lease import LeaseLost
from db.work.recovery import mark_death, release_worker_claims
from db.work.request_claims import (
    RequestClaim,
    claim_request,
    fail_request,
    open_requests,
    renew_requests,
    return_request,
    save_edit_scores,
    save_words,
    sweep_requests,
    waiting_requests,
)
from db.work.score_requests import mark_words, read_words, score_again
from db.work.workers import register_worker
from tests.unit.db.desk import Desk
from tests.unit.db.mill import LEASE, together


def claimed(desk: Desk, worker: str = "w1", alone: bool = False) -> RequestClaim:
    found = claim_request(desk.database, worker, ["demo"], LEASE, alone=alone)
    assert found is not None, "there is nothing to claim"
    return found


def edited(desk: Desk, text: str = "kind") -> int:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text=text)
    return output


def run_out(desk: Desk) -> None:
    with desk.database.write() as connection:
        connection.execute(update(ScoreRequest).where(ScoreRequest.status == "scoring").values(lease_until=1.0))


def status(desk: Desk, output: int) -> tuple[str, str | None]:
    request = desk.look(output).edit
    assert request is not None
    return request.status, request.reason


def test_only_a_worker_with_that_classifier_gets_a_request(desk: Desk) -> None:
    edited(desk)
    assert claim_request(desk.database, "w", ["original"], LEASE) is None
    assert open_requests(desk.database) == {"demo"}
    claim = claimed(desk)
    assert (claim.text, claim.kind, claim.revision, claim.attempts) == ("kind", "edit", 1, 1)
    assert claim_request(desk.database, "w2", ["demo"], LEASE) is None
    save_edit_scores(desk.database, claim, {"toxicity": 0.1}, "c")
    assert open_requests(desk.database) == set()


def test_workers_that_ask_at_once_never_get_the_same(desk: Desk) -> None:
    for _ in range(4):
        edited(desk)
    found = together([lambda: claim_request(desk.database, "w", ["demo"], LEASE)] * 8)
    ids = Counter(claim.request_id for claim in found if isinstance(claim, RequestClaim))
    assert set(ids.values()) == {1} and len(ids) <= 4, found
    assert not any(isinstance(claim, Exception) for claim in found), found


def test_a_stale_worker_stores_nothing(desk: Desk) -> None:
    output = edited(desk)
    stale = claimed(desk)
    run_out(desk)
    assert sweep_requests(desk.database) == 1
    assert renew_requests(desk.database, [stale], LEASE) == {stale.token}
    fresh = claimed(desk, alone=True)
    assert renew_requests(desk.database, [fresh, stale], LEASE) == {stale.token}
    for late in (
        lambda: save_edit_scores(desk.database, stale, {"toxicity": 0.9}, "c"),
        lambda: fail_request(desk.database, stale, "why"),
        lambda: save_words(desk.database, stale, [], {}),
    ):
        with pytest.raises(LeaseLost):
            late()
    return_request(desk.database, stale)
    assert status(desk, output) == ("scoring", None)
    save_edit_scores(desk.database, fresh, {"toxicity": 0.1}, "c")
    assert desk.state(output) is State.EDITED


def test_a_request_that_fails_three_times_is_given_up_with_its_reason(desk: Desk) -> None:
    output = edited(desk)
    assert not fail_request(desk.database, claimed(desk), "boom")
    assert status(desk, output) == ("waiting", None)
    assert claim_request(desk.database, "w", ["demo"], LEASE) is None  # not beside others any more
    assert not fail_request(desk.database, claimed(desk, alone=True), "boom")
    assert fail_request(desk.database, claimed(desk, alone=True), "boom " * 400)
    state, reason = status(desk, output)
    assert state == "failed" and reason is not None and reason.startswith("boom boom") and reason.endswith("…")
    assert desk.state(output) is State.WAITING  # and out of exports
    score_again(desk.database, output)
    assert status(desk, output) == ("waiting", None)
    assert desk.score_edits() == 1
    with pytest.raises(UsageError, match="no edit waiting"):
        score_again(desk.database, output)


@pytest.mark.parametrize("how", ["died", "silent"])
def test_a_request_that_kills_three_times_is_given_up(desk: Desk, how: str) -> None:
    output = edited(desk)
    for attempt in range(3):
        claim = claimed(desk, f"w{attempt}", alone=attempt > 0)
        assert claim.attempts == attempt + 1
        if how == "died":
            mark_death(desk.database, f"w{attempt}", "was killed by SIGKILL")
        else:
            run_out(desk)
            sweep_requests(desk.database)
    state, reason = status(desk, output)
    assert state == "failed" and reason is not None and "3 times while it scored this text" in reason
    assert waiting_requests(desk.database, ["demo"]) == []


def test_a_worker_that_leaves_in_order_is_not_charged(desk: Desk) -> None:
    edited(desk)
    claimed(desk, "w1")
    release_worker_claims(desk.database, "w1")
    claim = claimed(desk, "w2")
    assert claim.attempts == 1
    return_request(desk.database, claim)
    assert claimed(desk, "w3").attempts == 1


def test_an_edit_that_was_taken_back_while_it_was_scored_changes_nothing(desk: Desk) -> None:
    output = edited(desk)
    claim = claimed(desk)
    undo(desk.database, "anna", output)
    with pytest.raises(LeaseLost, match="nobody waits"):
        save_edit_scores(desk.database, claim, {"toxicity": 0.1}, "c")
    assert (desk.state(output), desk.look(output).flagged) == (State.PENDING, True)


def test_whether_anybody_serves_a_request_is_shown(desk: Desk) -> None:
    output = edited(desk)
    assert (request := desk.look(output).edit) is not None and not request.served
    register_worker(
        desk.database, "w", host="h", pid=1, state="ready", model="m", dtype="fp32", device="cpu", classifiers=["demo"]
    )
    assert (request := desk.look(output).edit) is not None and request.served


def test_words_are_marked_once_and_anew_for_another_text(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9], texts=["a rude word"])
    assert read_words(desk.database, output) is None
    asked = mark_words(desk.database, output)
    assert (asked.status, asked.classifier, asked.spans, asked.served) == ("waiting", "demo", (), False)
    assert mark_words(desk.database, output).request == asked.request
    claim = claimed(desk)
    assert (claim.kind, claim.text) == ("words", "a rude word")
    save_words(desk.database, claim, [(0, 1), (2, 6), (7, 11)], {"toxicity": [0.0, 0.8, -0.1]})
    done = mark_words(desk.database, output)
    assert (done.status, done.spans) == ("done", ((0, 1), (2, 6), (7, 11)))
    assert done.drops == {"toxicity": (0.0, 0.8, -0.1)}
    decide(desk.database, output, "anna", "edit", text="gentle")
    assert read_words(desk.database, output) is None
    with pytest.raises(UsageError, match="not scored yet"):
        mark_words(desk.database, output)
    undo(desk.database, "anna")
    assert mark_words(desk.database, output).spans == done.spans


def test_words_that_came_to_nothing_are_asked_for_again(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    mark_words(desk.database, output)
    for attempt in range(3):
        fail_request(desk.database, claimed(desk, alone=attempt > 0), "why")
    found = read_words(desk.database, output)
    assert found is not None and (found.status, found.reason) == ("failed", "why")
    assert mark_words(desk.database, output).status == "waiting"


def test_without_a_classifier_no_words_are_marked(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.1], safety="none")
    assert mark_words(desk.database, output).status == "none"
    with pytest.raises(UsageError, match="there is no output"):
        mark_words(desk.database, 999)


def test_two_who_ask_at_once_make_one_request(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    made = together([lambda: mark_words(desk.database, output)] * 4)
    assert len({one.request if not isinstance(one, Exception) else repr(one) for one in made}) == 1, made
