"""Lists of decisions are taken whole or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from contract.errors import UsageError
from contract.review import State
from db.review.claims import claim_output
from db.review.decisions.decision_list import MAX_DECISIONS, BadDecisions, Instruction, decide_list
from tests.unit.db.desk import Desk


def edit(output: int, text: str) -> Instruction:
    return Instruction(line=output, output_id=output, decision="edit", text=text)


def test_every_line_is_its_own_decision(desk: Desk) -> None:
    a, b, c = desk.outputs_of([0.9, 0.9, 0.1])
    done = decide_list(
        desk.database,
        [
            Instruction(line=1, output_id=b, decision="reject", reason="rude"),
            Instruction(line=2, output_id=a, decision="edit", text="kind"),
            Instruction(line=3, output_id=c, decision="approve"),
        ],
        "anna",
    )
    assert [(one.output_id, one.to_state) for one in done] == [
        (b, State.REJECTED), (a, State.WAITING), (c, State.APPROVED),
    ]  # fmt: skip
    assert desk.score_edits() == 1
    assert [desk.state(output) for output in (a, b, c)] == [State.EDITED, State.REJECTED, State.APPROVED]


def test_many_edits_hold_the_lock_for_no_more_statements_than_a_few(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    event.listen(desk.database.engine, "before_cursor_execute", lambda c, cursor, said, *rest: asked.append(said))
    begun: list[bool] = []

    def index(text: str) -> str:
        begun.append(bool(asked))
        return text

    monkeypatch.setattr("db.review.decisions.decision_list.search_words", index)
    counts = []
    for number in (3, 60):
        outputs = desk.outputs_of([0.9] * number)
        asked.clear()
        decide_list(desk.database, [edit(output, f"kind {output}") for output in outputs], "anna")
        counts.append(len(asked))
        assert begun and not any(begun), "texts are cut into words before anybody has to wait"
        assert desk.score_edits() == number
    assert counts[0] == counts[1]


def test_one_bad_line_and_nothing_is_decided(desk: Desk) -> None:
    a, b = desk.outputs_of([0.9, 0.9])
    claim_output(desk.database, b, "ben")
    listed = [
        Instruction(line=1, output_id=a, decision="approve"),
        Instruction(line=4, output_id=999, decision="approve"),
        Instruction(line=5, output_id=a, decision="reject"),
        Instruction(line=6, output_id=b, decision="reject"),
        Instruction(line=7, output_id=10**30, decision="edit"),
    ]
    with pytest.raises(BadDecisions) as refused:
        decide_list(desk.database, listed[:4], "anna")
    assert [line for line, _ in refused.value.problems] == [4, 5, 6]
    assert "there is no output 999" in str(refused.value) and "ben is reviewing it" in str(refused.value)
    assert desk.record() == []


def test_a_list_is_not_longer_than_one_transaction_may_be(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9])
    many = [Instruction(line=i, output_id=output, decision="approve") for i in range(MAX_DECISIONS + 1)]
    with pytest.raises(UsageError, match="split the list"):
        decide_list(desk.database, many, "anna")
    long = [Instruction(line=i, output_id=output, decision="edit", text="x" * 200_000) for i in range(26)]
    with pytest.raises(UsageError, match="5,200,000 characters of edited texts"):
        decide_list(desk.database, long, "anna")
