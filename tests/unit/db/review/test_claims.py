"""Outputs in hand: nobody gets what another one has, audits are drawn fairly, and claims run out."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from contract.errors import ClaimedByOther, InkmillError, Stale, UsageError
from contract.review import Filter, Order, State, StateFilter
from db.review import claims
from db.review.claims import claim_output, next_output, release_output
from db.review.decisions.acts import decide
from db.review.decisions.bulk import CHUNK_DECISIONS, decide_many
from db.review.progress import known_reasons, review_progress, reviewers
from db.review.queue import read_page
from db.review_models import ReviewClaim
from tests.unit.db.desk import PENDING, Desk
from tests.unit.db.mill import together

ROOT = Path(__file__).parents[4]


def test_the_next_output_is_the_first_that_nobody_else_has(desk: Desk) -> None:
    first, second, third = desk.outputs_of([0.9, 0.8, 0.7])
    assert next_output(desk.database, "anna", PENDING) == first
    assert next_output(desk.database, "ben", PENDING) == second
    assert next_output(desk.database, "anna", PENDING) == first  # still hers
    decide(desk.database, first, "anna", "approve")
    assert next_output(desk.database, "anna", PENDING) == third
    decide(desk.database, third, "anna", "approve")
    assert next_output(desk.database, "anna", PENDING) is None


def test_after_the_last_the_queue_begins_again(desk: Desk) -> None:
    first, second, third = desk.outputs_of([0.9, 0.8, 0.7])
    at, seen = first, []
    for _ in range(3):
        found = next_output(desk.database, "anna", PENDING, after=at)
        assert found is not None
        seen.append(found)
        at = found
    assert seen == [second, third, first]
    decide(desk.database, second, "anna", "reject")
    assert next_output(desk.database, "anna", PENDING, after=second) == third
    decide(desk.database, third, "anna", "reject")
    assert next_output(desk.database, "anna", PENDING, after=first) is None


@pytest.mark.parametrize(
    "wanted", [Filter(state=StateFilter.ALL), Filter(state=StateFilter.UNFLAGGED, order=Order.OLDEST)]
)
def test_views_of_everything_hand_out_too(desk: Desk, wanted: Filter) -> None:
    outputs = desk.outputs_of([0.1, 0.2])
    assert next_output(desk.database, "anna", wanted) == outputs[0]
    assert next_output(desk.database, "ben", wanted) == outputs[1]
    assert next_output(desk.database, "carl", wanted) is None


def test_a_claim_is_renewed_released_and_runs_out(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    claim_output(desk.database, output, "anna")
    claim_output(desk.database, output, "anna")
    release_output(desk.database, output, "ben")
    with pytest.raises(ClaimedByOther, match="anna"):
        claim_output(desk.database, output, "ben")
    release_output(desk.database, output, "anna")
    claim_output(desk.database, output, "ben")
    desk.let_claims_run_out()
    claim_output(desk.database, output, "ben")  # nobody took it meanwhile
    desk.let_claims_run_out()
    assert next_output(desk.database, "anna", PENDING) == output
    with pytest.raises(ClaimedByOther, match="anna"):
        claim_output(desk.database, output, "ben")
    with pytest.raises(UsageError, match="there is no output 99"):
        claim_output(desk.database, 99, "anna")


def test_a_claim_made_before_the_clock_was_set_back_keeps_nobody_out(desk: Desk) -> None:
    first, second = desk.outputs_of([0.9, 0.8])
    for output in (first, second):
        claim_output(desk.database, output, "anna")
    with desk.database.write() as connection:
        later = {"since": ReviewClaim.since + 3600, "until": ReviewClaim.until + 3600}
        connection.execute(update(ReviewClaim).values(later))
    assert desk.look(first).claim is None
    assert [row.claimed_by for row in read_page(desk.database, PENDING, reviewer="ben").rows] == [None, None]
    decide(desk.database, first, "anna", "approve")
    assert desk.record()[0].seconds == 0
    assert next_output(desk.database, "ben", PENDING) == second
    decide(desk.database, second, "ben", "approve")


def test_reviewers_who_ask_at_once_never_get_the_same(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9 - i / 1000 for i in range(24)])

    def sitting(name: str) -> Callable[[], list[int]]:
        def sit() -> list[int]:
            mine = []
            while (output := next_output(desk.database, name, PENDING)) is not None:
                decide(desk.database, output, name, "approve", expected=0)
                mine.append(output)
            return mine

        return sit

    sat = together([sitting(f"reviewer {i}") for i in range(4)])
    assert all(isinstance(mine, list) for mine in sat), sat
    done = [output for mine in sat if isinstance(mine, list) for output in mine]
    assert sorted(done) == outputs
    assert len(desk.record()) == 24


def test_of_two_decisions_at_once_one_is_refused(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 8)
    for output in outputs:
        made = together(
            [lambda o=output, n=name: decide(desk.database, o, n, "approve", expected=0) for name in ("anna", "ben")]  # type: ignore[misc]
        )
        assert Counter(type(one) for one in made)[Stale] == 1, made
    assert len(desk.record()) == 8


SITTING = """
import sys
from contract.review import Filter
from db.review.claims import next_output
from db.review.decisions.acts import decide
from db.session.engine import open_database
database, name = open_database(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
while (output := next_output(database, name, Filter())) is not None:
    decide(database, output, name, "reject", expected=0)
    print(output, flush=True)
"""


def test_reviewers_in_processes_of_their_own_never_get_the_same(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 30)
    url = desk.database.url.render_as_string(hide_password=False)
    sitting = [
        subprocess.Popen(
            [sys.executable, "-c", SITTING, url, f"p{i}"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for i in range(3)
    ]  # fmt: skip
    for process in sitting:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    results = [process.communicate("go\n", timeout=60) for process in sitting]
    assert [process.returncode for process in sitting] == [0, 0, 0], results
    assert sorted(int(line) for out, _ in results for line in out.split()) == outputs


BULK = """
import os, signal, sys
from db.review.queue import matching_versions
from contract.review import Filter
from db.review.decisions import bulk
from db.session.engine import open_database
database = open_database(sys.argv[1])
with_matches = bulk.with_matches
def die_in_the_second(*order):
    bulk.with_matches = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return with_matches(*order)
bulk.with_matches = die_in_the_second
outputs = [output for output, _ in matching_versions(database, Filter())]
bulk.decide_many(database, outputs, "anna", "reject", key="night")
"""


def test_a_bulk_that_is_killed_half_way_is_completed_by_the_same_again(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * (2 * CHUNK_DECISIONS + 10))
    url = desk.database.url.render_as_string(hide_password=False)
    killed = subprocess.run([sys.executable, "-c", BULK, url], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -9, killed.stderr
    assert len(desk.record()) == CHUNK_DECISIONS
    desk.assert_in_step()  # nothing is half decided
    done = decide_many(desk.database, outputs, "anna", "reject", key="night")
    assert (done.decided, done.skipped) == (len(outputs), ())
    assert len(desk.record()) == len(outputs)


def test_audits_are_drawn_with_equal_chances_and_kept_with_them(desk: Desk) -> None:
    flagged, *unflagged = desk.outputs_of([0.9] + [0.1] * 10)
    drawn: Counter[int] = Counter()
    for _ in range(300):
        output = next_output(desk.database, "anna", PENDING, audit_share=0.999)
        assert output is not None
        drawn[output] += 1
        release_output(desk.database, output, "anna")
    audits = {output: times for output, times in drawn.items() if output != flagged}
    assert set(audits) == set(unflagged)
    assert all(8 <= times <= 65 for times in audits.values()), audits  # 30 each, on average
    output = next_output(desk.database, "anna", PENDING, audit_share=0.999)
    assert output is not None and output != flagged
    decide(desk.database, output, "anna", "reject")
    (entry,) = desk.record()
    assert (entry.drawn, bool(entry.flagged), entry.from_state) == (pytest.approx(0.1), False, "unflagged")
    assert desk.state(output) is State.REJECTED


def test_a_text_that_somebody_chose_to_decide_is_no_audit(desk: Desk) -> None:
    outputs = desk.outputs_of([0.1, 0.1])
    decide(desk.database, outputs[0], "anna", "reject")
    assert desk.record()[0].drawn is None


def test_audits_end_when_all_unflagged_texts_are_decided(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.outputs_of([0.1, 0.1])
    monkeypatch.setattr(claims, "DRAWS", 500)
    for _ in range(2):
        output = next_output(desk.database, "anna", PENDING, audit_share=0.999)
        if output is not None:
            decide(desk.database, output, "anna", "approve")
    assert next_output(desk.database, "anna", PENDING) is None
    with pytest.raises(UsageError, match="audit share"):
        next_output(desk.database, "anna", PENDING, audit_share=1.5)


def test_progress_counts_what_stands_and_takes_the_median(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 6 + [0.1])
    for output in outputs[:3]:
        claim_output(desk.database, output, "anna")
        decide(desk.database, output, "anna", "approve")
    decide(desk.database, outputs[3], "ben", "reject")
    now = review_progress(desk.database, PENDING, "anna")
    assert (now.mine, now.everyone, now.mine_today, str(now.left)) == (3, 4, 3, "2")
    assert now.median_seconds is not None and 0 <= now.median_seconds < 10
    assert now.seconds_left == pytest.approx(2 * now.median_seconds)
    from db.review.decisions.acts import undo

    undo(desk.database, "anna")
    now = review_progress(desk.database, PENDING, "anna")
    assert (now.mine, now.everyone, str(now.left)) == (2, 3, "3")
    assert (now.mine_today, now.everyone_today, now.median_is_mine) == (2, 3, True)
    for action in ("approve", "reject", "approve"):  # one output, however often it is decided anew
        decide(desk.database, outputs[0], "ben", action)
    now = review_progress(desk.database, PENDING, "anna")
    assert (now.mine, now.mine_today, now.everyone, now.everyone_today) == (1, 1, 3, 3)
    assert not review_progress(desk.database, PENDING, "nobody").median_is_mine
    assert reviewers(desk.database) == ["anna", "ben"]
    assert review_progress(desk.database, PENDING, "nobody").median_seconds is not None  # everyone's


def test_the_reasons_there_are_can_be_chosen_from(desk: Desk) -> None:
    outputs = desk.outputs_of([{"toxicity": 0.9, "insult": 0.8}, 0.1], blocklist=("zebra",), texts=["x", "zebra"])
    assert known_reasons(desk.database) == ["insult", "toxicity", "blocklist:zebra"]
    assert known_reasons(desk.database, desk.look(outputs[0]).job_id + 1) == []
    assert issubclass(ClaimedByOther, InkmillError)
