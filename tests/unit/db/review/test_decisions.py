"""Decisions: what follows what, what is refused, and what the record says afterwards."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import select

from contract.errors import ClaimedByOther, Stale, UsageError
from contract.review import Filter, State, StateFilter
from db.jobs.reflag import reflag_job
from db.jobs.retry import retry_job
from db.models import Output
from db.review.claims import claim_output
from db.review.decisions import bulk
from db.review.decisions.acts import decide, undo
from db.review.decisions.bulk import decide_many, decide_matching, undo_many
from db.review.queue import matching_versions
from db.session.engine import open_database
from db.work.claims import finish_scoring
from tests.examples import examples
from tests.unit.db.desk import PENDING, Desk


def test_a_decision_says_who_when_from_what_to_what_and_why(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    done = decide(desk.database, output, "anna", "reject", reason="rude")
    (entry,) = desk.record()
    assert (entry.output_id, entry.reviewer, entry.action, entry.reason) == (output, "anna", "reject", "rude")
    assert (entry.from_state, entry.to_state) == ("pending", "rejected")
    assert entry.created_at > 1.7e9
    assert (done.version, done.from_state, done.to_state) == (entry.id, State.PENDING, State.REJECTED)
    assert desk.state(output) is State.REJECTED


def test_decisions_are_appended_and_an_undo_is_an_entry_of_its_own(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "approve")
    decide(desk.database, output, "ben", "reject")
    before = desk.record()
    back = undo(desk.database, "carl", output, expected=desk.look(output).version)
    assert desk.record()[:2] == before
    assert (back.from_state, back.to_state) == (State.REJECTED, State.APPROVED)
    shown = desk.look(output)
    assert [(entry.action, entry.reviewer, entry.undone) for entry in shown.history] == [
        ("approve", "anna", False),
        ("reject", "ben", True),
        ("undo", "carl", False),
    ]
    assert undo(desk.database, "carl", output, expected=desk.look(output).version).to_state is State.PENDING
    with pytest.raises(UsageError, match="has no decision to undo"):
        undo(desk.database, "carl", output)


def test_a_stale_decision_is_refused_with_what_the_other_one_decided(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    seen = desk.look(output).version
    decide(desk.database, output, "anna", "reject", expected=seen)
    with pytest.raises(Stale, match="anna has since made it rejected") as refused:
        decide(desk.database, output, "ben", "approve", expected=seen)
    assert (refused.value.by, refused.value.state, refused.value.action) == ("anna", "rejected", "reject")
    assert refused.value.version == desk.look(output).version
    assert refused.value.at is not None
    assert len(desk.record()) == 1
    decide(desk.database, output, "ben", "approve", expected=refused.value.version)
    assert desk.state(output) is State.APPROVED


def test_what_another_one_has_in_hand_cannot_be_decided_until_the_claim_runs_out(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    claim_output(desk.database, output, "anna")
    with pytest.raises(ClaimedByOther, match="anna is reviewing it") as refused:
        decide(desk.database, output, "ben", "approve")
    assert 0 < refused.value.seconds <= 120
    desk.let_claims_run_out()
    decide(desk.database, output, "ben", "approve")
    assert desk.claims() == {}


def test_the_same_key_again_stores_nothing_and_answers_as_before(desk: Desk) -> None:
    first, second = desk.outputs_of([0.9, 0.8])
    done = decide(desk.database, first, "anna", "approve", expected=0, key="k-1")
    again = decide(desk.database, first, "anna", "approve", expected=0, key="k-1")
    assert (again.id, again.to_state, again.version) == (done.id, done.to_state, done.version)
    for output, reviewer, said in ((second, "anna", ("approve", None)), (first, "ben", ("approve", None)),
                                   (first, "anna", ("reject", None)), (first, "anna", ("edit", "x"))):  # fmt: skip
        with pytest.raises(UsageError, match="another decision"):
            decide(desk.database, output, reviewer, said[0], text=said[1], key="k-1")
    taken = undo(desk.database, "anna", key="k-2")
    assert undo(desk.database, "anna", key="k-2").id == taken.id
    assert len(desk.record()) == 2


def test_undo_without_an_output_takes_back_my_own_last_decision(desk: Desk) -> None:
    first, second, third = desk.outputs_of([0.9, 0.8, 0.75])
    decide(desk.database, first, "anna", "approve")
    decide(desk.database, second, "anna", "reject")
    decide(desk.database, third, "ben", "reject")
    assert undo(desk.database, "anna").output_id == second
    assert undo(desk.database, "anna").output_id == first
    with pytest.raises(UsageError, match="anna has no decision to undo"):
        undo(desk.database, "anna")


@pytest.mark.parametrize("named", [False, True], ids=["the last one", "that output"])
def test_undo_of_what_somebody_decided_since_is_stale(desk: Desk, named: bool) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "approve")
    decide(desk.database, output, "ben", "reject")
    with pytest.raises(Stale, match="ben"):
        undo(desk.database, "anna", output if named else None)


@pytest.mark.parametrize(
    ("action", "text", "said"),
    [
        ("approve", "x", "belongs to edit"),
        ("edit", None, "needs the new text"),
        ("edit", " \n", "is empty"),
        ("edit", "x" * 200_001, "at most 200,000 are allowed"),
        ("edit", "half \ud83d", "half a character"),
        ("edit", "text 0.0", "the text is unchanged"),
        ("undo", None, "is not a decision"),
        ("aprove", None, "is not a decision"),
    ],
)
def test_what_is_no_decision_is_refused(desk: Desk, action: str, text: str | None, said: str) -> None:
    (output,) = desk.outputs_of([0.9])
    with pytest.raises(UsageError, match=said):
        decide(desk.database, output, "anna", action, text=text)
    assert desk.record() == []


def test_no_output_no_name_no_key_no_decision(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    with pytest.raises(UsageError, match="there is no output 999"):
        decide(desk.database, 999, "anna", "approve")
    with pytest.raises(UsageError, match="is not a reviewer's name"):
        decide(desk.database, output, " ", "approve")
    with pytest.raises(UsageError, match="key"):
        decide(desk.database, output, "anna", "approve", key="")
    with pytest.raises(UsageError, match="at most 2,000 are allowed"):
        decide(desk.database, output, "anna", "approve", reason="x" * 2001)


def test_a_text_that_is_not_scored_yet_cannot_be_decided(desk: Desk) -> None:
    job = desk.submit(1)
    desk.finish(desk.claim())
    (output,) = desk.outputs(job)
    with pytest.raises(UsageError, match="not scored yet"):
        decide(desk.database, output.id, "anna", "approve")
    desk.finish_texts(desk.claim_texts())


def test_an_edit_waits_for_its_scores_and_counts_when_it_has_them(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    done = decide(desk.database, output, "anna", "edit", text="a kind text")
    assert (done.to_state, done.revision, done.classifier) == (State.WAITING, 1, "demo")
    shown = desk.look(output)
    assert (shown.text, shown.original_text, shown.scores) == ("a kind text", "text 0.0", {})
    assert shown.edit is not None and (shown.edit.status, shown.edit.served) == ("waiting", False)
    with pytest.raises(UsageError, match="is waiting for scores"):
        decide(desk.database, output, "anna", "approve")
    assert desk.score_edits(toxicity=0.2) == 1
    shown = desk.look(output)
    assert (shown.state, shown.scores, shown.flagged, shown.reasons) == (State.EDITED, {"toxicity": 0.2}, False, ())
    assert [(score.revision, score.toxicity) for score in desk.scores()] == [(0, 0.9), (1, 0.2)]


def test_an_edit_that_is_still_over_a_threshold_stays_flagged(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9], blocklist=("damn",))
    decide(desk.database, output, "anna", "edit", text="damn it")
    desk.score_edits(toxicity=0.2)
    shown = desk.look(output)
    assert (shown.state, shown.flagged, shown.reasons) == (State.EDITED, True, ("blocklist:damn",))


def test_without_a_classifier_an_edit_counts_at_once(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.0], safety="none")
    done = decide(desk.database, output, "anna", "edit", text="better")
    assert (done.to_state, done.request) == (State.EDITED, None)
    assert desk.look(output).text == "better"
    assert undo(desk.database, "anna").to_state is State.UNFLAGGED


def test_undoing_an_edit_brings_text_scores_and_flag_back(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text="a kind text")
    desk.score_edits()
    assert undo(desk.database, "anna", output).to_state is State.PENDING
    shown = desk.look(output)
    assert (shown.text, shown.flagged, shown.reasons, shown.top_score) == ("text 0.0", True, ("toxicity",), 0.9)
    assert (shown.revision, shown.edit) == (0, None)
    assert decide(desk.database, output, "anna", "edit", text="another").revision == 2


def test_an_edit_that_is_taken_back_before_it_is_scored_is_scored_no_more(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text="a kind text")
    undo(desk.database, "anna", output)
    assert desk.score_edits() == 0
    assert desk.state(output) is State.PENDING


def test_an_edit_over_an_edit_and_back(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text="one")
    decide(desk.database, output, "anna", "edit", text="two")
    assert undo(desk.database, "anna", output).to_state is State.WAITING
    assert desk.look(output).text == "one"
    assert desk.score_edits() == 1
    assert (desk.state(output), desk.look(output).scores) == (State.EDITED, {"toxicity": 0.1})


def test_an_edit_that_was_rejected_while_it_waited_counts_when_the_rejection_is_undone(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text="one")
    decide(desk.database, output, "anna", "reject")
    desk.score_edits()
    assert desk.state(output) is State.REJECTED
    assert undo(desk.database, "anna", output).to_state is State.EDITED
    assert not desk.look(output).flagged


def test_an_edit_that_was_rejected_while_it_waited_cannot_be_approved_before_it_is_scored(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    decide(desk.database, output, "anna", "edit", text="one")
    decide(desk.database, output, "anna", "reject")
    with pytest.raises(UsageError, match="is waiting for scores"):
        decide(desk.database, output, "anna", "approve")
    desk.score_edits()
    assert decide(desk.database, output, "anna", "approve").to_state is State.APPROVED


def test_an_edit_is_flagged_by_scores_that_came_after_its_rejection(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.1])
    decide(desk.database, output, "anna", "edit", text="a rude text")
    decide(desk.database, output, "anna", "reject")
    desk.score_edits(toxicity=0.998)
    assert (desk.look(output).flagged, desk.look(output).reasons) == (True, ("toxicity",))
    assert decide(desk.database, output, "anna", "approve").to_state is State.APPROVED
    assert desk.exported("clean") == []
    assert desk.exported("flagged") == desk.exported("approved") == [output]


def test_what_has_no_scores_yet_is_flagged_as_such_and_only_all_shows_it(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.1])
    decide(desk.database, output, "anna", "edit", text="a rude text")
    assert (desk.look(output).flagged, desk.look(output).reasons) == (True, ("unscored",))
    assert desk.exported("clean") == desk.exported("flagged") == desk.exported("approved") == []
    assert desk.exported("all") == [output]
    undo(desk.database, "anna")
    assert (desk.look(output).flagged, desk.exported("clean")) == (False, [output])


def test_reflag_judges_edits_by_their_own_scores(desk: Desk) -> None:
    edited, plain = desk.outputs_of([0.9, 0.9])
    job = desk.look(edited).job_id
    decide(desk.database, edited, "anna", "edit", text="one")
    desk.score_edits(toxicity=0.3)
    done = reflag_job(desk.database, job, thresholds={"toxicity": 0.25}, blocklist=None)
    assert done.flagged == 2
    assert [desk.look(output).flagged for output in (edited, plain)] == [True, True]
    done = reflag_job(desk.database, job, thresholds={"toxicity": 0.95}, blocklist=None)
    assert done.flagged == 0
    assert (desk.state(edited), desk.state(plain)) == (State.EDITED, State.UNFLAGGED)
    reflag_job(desk.database, job, thresholds=None, blocklist=None, reset=True)
    assert (desk.state(edited), desk.look(edited).flagged, desk.state(plain)) == (State.EDITED, False, State.PENDING)


def test_what_reflag_unflags_stays_decided_and_falls_back_to_unflagged_when_undone(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.8])
    decide(desk.database, output, "anna", "reject")
    reflag_job(desk.database, desk.look(output).job_id, thresholds={"toxicity": 0.9}, blocklist=None)
    assert desk.state(output) is State.REJECTED
    assert undo(desk.database, "anna").to_state is State.UNFLAGGED
    assert desk.state(output) is State.UNFLAGGED


def test_what_was_decided_without_scores_stands_among_the_others_when_it_gets_some(desk: Desk) -> None:
    output = desk.unscored()
    decide(desk.database, output, "anna", "approve")
    job = desk.look(output).job_id
    retry_job(desk.database, job)
    scoring = desk.claim_texts()
    desk.score(scoring, 0.3)
    finish_scoring(desk.database, scoring)
    assert (desk.state(output), desk.look(output).top_score) == (State.APPROVED, 0.3)
    desk.assert_in_step()


def test_many_are_decided_at_once_and_undone_as_one(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 30 + [0.1])
    claim_output(desk.database, outputs[0], "ben")
    decide(desk.database, outputs[1], "ben", "approve")
    done = decide_many(desk.database, outputs, "anna", "approve", reason="a good batch", key="bulk-1")
    assert done.decided == 29
    assert {(skip.output_id, skip.why.split(";")[0]) for skip in done.skipped} == {
        (outputs[0], "ben is reviewing it"),
        (outputs[1], "already approved, by ben"),
    }
    assert decide_many(desk.database, outputs, "anna", "approve", key="bulk-1").ids == done.ids
    assert len(desk.record()) == 30
    back = undo_many(desk.database, "bulk-1", "anna")
    assert back.ids == done.ids
    assert {desk.state(output) for output in outputs[2:30]} == {State.PENDING}
    assert (desk.state(outputs[1]), desk.state(outputs[30])) == (State.APPROVED, State.UNFLAGGED)


def test_a_decision_of_many_takes_back_its_own_entries_alone(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9] * 4)
    decide(desk.database, outputs[0], "anna", "approve")
    decide_many(desk.database, outputs[1:], "anna", "approve", key="bulk-1")
    undo(desk.database, "anna", outputs[2])
    decide(desk.database, outputs[2], "anna", "reject", reason="looked at again")
    decide(desk.database, outputs[3], "ben", "reject")
    back = undo_many(desk.database, "bulk-1", "anna", key="back-1")
    assert back.ids == (outputs[1],)
    assert {skip.output_id: skip.why for skip in back.skipped} == {
        outputs[2]: "decided again since, by anna",
        outputs[3]: "decided again since, by ben",
    }
    assert [desk.state(output).value for output in outputs] == ["approved", "pending", "rejected", "rejected"]
    assert undo_many(desk.database, "bulk-1", "anna", key="back-1").ids == back.ids
    for reviewer, key in (("ben", "bulk-1"), ("anna", "bulk-2")):
        with pytest.raises(UsageError, match="has no decisions under the key"):
            undo_many(desk.database, key, reviewer)


def test_all_that_match_cut_off_and_asked_again_is_one_decision(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = desk.outputs_of([0.9] * 6)
    monkeypatch.setattr("db.review.decisions.bulk.CHUNK_DECISIONS", 2)
    chunks = iter([bulk.with_matches])  # the second is cut off
    seen = dict(matching_versions(desk.database, PENDING))
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "with_matches", lambda *order: next(chunks)(*order))
        with pytest.raises(StopIteration):
            decide_matching(desk.database, PENDING, "anna", "reject", seen=seen, key="all-1")
    assert sorted(desk.state(output).value for output in outputs) == ["pending"] * 4 + ["rejected"] * 2
    done = decide_matching(desk.database, PENDING, "anna", "reject", seen=seen, key="all-1")
    assert sorted(done.ids) == outputs
    assert sorted(undo_many(desk.database, "all-1", "anna").ids) == outputs
    assert {desk.state(output) for output in outputs} == {State.PENDING}


def test_all_that_match_are_decided_but_only_what_was_seen(desk: Desk) -> None:
    first = desk.outputs_of([0.9, 0.8, 0.7, 0.1])
    seen = dict(matching_versions(desk.database, PENDING))
    assert list(seen) == first[:3]
    decide(desk.database, first[0], "ben", "reject")
    reflag_job(desk.database, desk.look(first[2]).job_id, thresholds={"toxicity": 0.75}, blocklist=None)
    others = desk.outputs_of([0.99] * 3)
    done = decide_matching(desk.database, PENDING, "anna", "approve", seen=seen)
    assert done.ids == (first[1],)
    assert [skip.output_id for skip in done.skipped] == [first[0], first[2]]
    assert done.skipped[1].why == "no longer matches"
    assert {desk.state(output) for output in others} == {State.PENDING}
    unflagged = Filter(state=StateFilter.UNFLAGGED)
    seen = dict(matching_versions(desk.database, unflagged))
    assert decide_matching(desk.database, unflagged, "anna", "approve", seen=seen).ids == (first[2], first[3])


def test_many_with_one_that_does_not_exist_changes_nothing(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9, 0.9])
    with pytest.raises(UsageError, match="there are no outputs 900, 901"):
        decide_many(desk.database, [*outputs, 900, 901], "anna", "approve")
    assert desk.record() == []


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["approve", "reject", "edit", "undo", "score", "stricter", "laxer"]),
        st.sampled_from(["anna", "ben"]),
        st.integers(0, 1),
    ),
    max_size=14,
)


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chain=ACTIONS)
def test_whatever_is_decided_the_record_explains_how_it_stands(
    sqlite_url: str, chain: list[tuple[str, str, int]]
) -> None:
    desk = Desk(open_database(sqlite_url))
    outputs = desk.outputs_of([0.9, 0.1])
    for number, (action, reviewer, which) in enumerate(chain):
        output = outputs[which]
        before = desk.look(output)
        try:
            if action == "score":
                desk.score_edits(toxicity=0.5)
            elif action in ("stricter", "laxer"):
                limit = 0.4 if action == "stricter" else 0.95
                reflag_job(desk.database, before.job_id, thresholds={"toxicity": limit}, blocklist=None)
            elif action == "undo":
                undo(desk.database, reviewer, output, expected=before.version)
            else:
                text = f"edit {number}" if action == "edit" else None
                decide(desk.database, output, reviewer, action, text=text, expected=before.version)
        except UsageError:
            assert desk.look(output) == before
        desk.assert_in_step()
        desk.assert_counters()
    for output in outputs:
        shown = desk.look(output)
        stand = [entry for entry in shown.history if not entry.undone and entry.action != "undo"]
        assert (shown.state in (State.PENDING, State.UNFLAGGED)) == (not stand)
        texts = [entry.text for entry in stand if entry.action == "edit"]
        assert shown.text == (texts[-1] if texts else shown.original_text)
    with desk.database.read() as connection:
        assert len(connection.scalars(select(Output.id).where(Output.id.in_(outputs))).all()) == 2
    desk.database.close()
