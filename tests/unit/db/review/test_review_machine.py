"""Whatever is decided, scored late, flagged anew and undone, flags are those of the text that stands."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from contract.errors import UsageError
from contract.review import Action, State
from db.jobs.reflag import reflag_job
from db.review.decisions.acts import decide, undo
from db.review.decisions.bulk import decide_many, undo_many
from db.session.engine import Database
from db.work.lease import LeaseLost
from db.work.request_claims import RequestClaim, claim_request, fail_request, save_edit_scores
from tests.examples import SEARCHING, examples
from tests.unit.db.desk import Desk
from tests.unit.db.mill import LEASE
from tests.unit.db.stored import empty, hurry
from tests.unit.db.test_machine import EXAMPLES

SCORES = st.sampled_from([0.1, 0.6, 0.998])
WHICH = st.integers(0, 3)
DECIDED = {Action.APPROVE: State.APPROVED, Action.REJECT: State.REJECTED, Action.EDIT: State.WAITING}
REVIEWER = "anna"


@dataclass(eq=False)
class Text:
    """What may stand of an output: as generated, or an edit."""

    words: str
    score: float | None = None


@dataclass(eq=False)
class Pictured:
    """An output, and the decisions that stand on it: what, and which text it left standing."""

    id: int
    texts: list[Text]
    decisions: list[tuple[Action, int, str | None]] = field(default_factory=list)  # and the bulk it was part of

    @property
    def revision(self) -> int:
        return self.decisions[-1][1] if self.decisions else 0

    @property
    def standing(self) -> Text:
        return self.texts[self.revision]


class Reviewing(RuleBasedStateMachine):
    """One job's outputs, a reviewer, and workers that score edits whenever they like."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        empty(self.database)
        self.desk, self.threshold, self.words, self.bulks = Desk(self.database), 0.7, (), 0
        ids = self.desk.outputs_of([0.1, 0.998, 0.6], texts=["even", "odd", "odd"])
        self.job, lost = self.desk.look(ids[0]).job_id, self.desk.unscored()
        pictured = [(ids[0], "even", 0.1), (ids[1], "odd", 0.998), (ids[2], "odd", 0.6), (lost, "text 0.0", None)]
        self.outputs = [Pictured(number, [Text(words, score)]) for number, words, score in pictured]
        self.claims: list[RequestClaim] = []

    # What ought to be.

    def reasons(self, output: Pictured) -> tuple[str, ...]:
        text = output.standing
        if text.score is None:
            return ("unscored",)
        mine = output is not self.outputs[3]  # whose job is another, and never flagged anew
        over = text.score >= (self.threshold if mine else 0.7)
        found = [word for word in self.words if mine and word in text.words.split()]
        return (*(["toxicity"] if over else []), *(f"blocklist:{word}" for word in found))

    def state(self, output: Pictured) -> State:
        if not output.decisions:
            return State.PENDING if self.reasons(output) else State.UNFLAGGED
        action = output.decisions[-1][0]
        scored_edit = action is Action.EDIT and output.standing.score is not None
        return State.EDITED if scored_edit else DECIDED[action]

    def may_approve(self, output: Pictured) -> bool:
        return not output.revision or output.standing.score is not None

    # What happens.

    @rule(which=WHICH, action=st.sampled_from([Action.APPROVE, Action.REJECT]))
    def judge(self, which: int, action: Action) -> None:
        output = self.outputs[which]
        if action is Action.APPROVE and not self.may_approve(output):
            with pytest.raises(UsageError, match="is waiting for scores"):
                decide(self.database, output.id, REVIEWER, action)
            return
        decide(self.database, output.id, REVIEWER, action)
        output.decisions.append((action, output.revision, None))

    @rule(which=WHICH, word=st.sampled_from(["odd", "even"]), rejected=st.booleans())
    def edit(self, which: int, word: str, rejected: bool) -> None:
        """It may be rejected before anybody could score it."""
        output = self.outputs[which]
        text = Text(f"{word} {len(output.texts)}")
        decide(self.database, output.id, REVIEWER, Action.EDIT, text=text.words)
        output.decisions.append((Action.EDIT, len(output.texts), None))
        output.texts.append(text)
        if rejected:
            self.judge(which, Action.REJECT)

    @rule(which=WHICH)
    def undo(self, which: int) -> None:
        output = self.outputs[which]
        if not output.decisions:
            with pytest.raises(UsageError, match="has no decision to undo"):
                undo(self.database, REVIEWER, output.id)
            return
        undo(self.database, REVIEWER, output.id)
        output.decisions.pop()

    @rule(action=st.sampled_from([Action.APPROVE, Action.REJECT]))
    def judge_many(self, action: Action) -> None:
        self.bulks += 1
        bulk = f"bulk-{self.bulks}"
        done = decide_many(self.database, [one.id for one in self.outputs], REVIEWER, action, key=bulk)
        fit = [one for one in self.outputs if self.state(one) is not DECIDED[action]]
        fit = [one for one in fit if action is Action.REJECT or self.may_approve(one)]
        assert done.ids == tuple(one.id for one in fit)
        for output in fit:
            output.decisions.append((action, output.revision, bulk))

    @precondition(lambda self: self.bulks)
    @rule()
    def undo_many(self) -> None:
        bulk = f"bulk-{self.bulks}"
        mine = [one for one in self.outputs if one.decisions and one.decisions[-1][2] == bulk]
        with suppress(UsageError):  # it decided nothing
            undo_many(self.database, bulk, REVIEWER)
        for output in mine:
            output.decisions.pop()

    @rule(score=SCORES, at_once=st.booleans())
    def claim(self, score: float, at_once: bool) -> None:
        for alone in (False, True):
            claim = claim_request(self.database, "worker-1", ["demo"], LEASE, alone=alone)
            if claim is not None:
                self.claims.append(claim)
                break
        if at_once and self.claims:
            self._save(self.claims.pop(), score, fails=False)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), score=SCORES, fails=st.booleans())
    def score(self, data: st.DataObject, score: float, fails: bool) -> None:
        """However late: the edit may have been rejected, replaced or taken back since the claim."""
        place = data.draw(st.integers(0, len(self.claims) - 1), label="claim")
        self._save(self.claims.pop(place), score, fails=fails)

    def _save(self, claim: RequestClaim, score: float, *, fails: bool) -> None:
        text = next(one for one in self.outputs if one.id == claim.output_id).texts[claim.revision]
        try:
            if fails:
                fail_request(self.database, claim, "it cannot be scored")
            else:
                save_edit_scores(self.database, claim, {"toxicity": score}, "rev-c")
                text.score = score
        except LeaseLost:
            assert text.score is None

    @rule(threshold=st.sampled_from([0.5, 0.7, 1.0]), words=st.sampled_from([(), ("odd",)]))
    def reflag(self, threshold: float, words: tuple[str, ...]) -> None:
        self.threshold, self.words = threshold, words
        done = reflag_job(self.database, self.job, thresholds={"toxicity": threshold}, blocklist=words)
        assert done.flagged == sum(bool(self.reasons(one)) for one in self.outputs[:3])

    # What holds.

    @invariant()
    def flags_are_those_of_the_text_that_stands(self) -> None:
        for output in self.outputs:
            shown = self.desk.look(output.id)
            wanted = (output.standing.words, self.state(output), self.reasons(output))
            assert (shown.text, shown.state, shown.reasons) == wanted, output.id
            assert shown.flagged == bool(wanted[2])
            assert shown.top_score == output.standing.score
        self.desk.assert_in_step()
        self.desk.assert_counters()

    @invariant()
    def exports_hold_what_they_promise(self) -> None:
        clean = self.desk.exported("clean")
        for output in self.outputs[:3]:
            fit = self.state(output) not in (State.REJECTED, State.WAITING) and not self.reasons(output)
            assert (output.id in clean) == fit
        assert set(clean) <= {one.id for one in self.outputs if one.standing.score is not None}
        fit = [one.id for one in self.outputs if self.state(one) in (State.APPROVED, State.EDITED)]
        assert self.desk.exported("approved") == sorted(fit)


@pytest.mark.hypothesis
def test_flags_and_exports_follow_the_text_that_stands(database: Database) -> None:
    hurry(database)
    run_state_machine_as_test(
        type("BoundReviewing", (Reviewing,), {"database": database}),
        settings=examples(
            EXAMPLES,
            stateful_step_count=20,
            phases=[Phase.generate, Phase.shrink] if SEARCHING else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
