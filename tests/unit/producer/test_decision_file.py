"""Files of decisions: what a line may be, and that every bad one is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from contract.errors import UsageError
from db.review.decisions.decision_list import MAX_DECISIONS, BadDecisions, Instruction
from producer.decision_file import read_decisions


def written(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "d.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_lines_are_read_with_their_numbers(tmp_path: Path) -> None:
    text = (
        '\ufeff{"id": 1, "decision": "approve"}\r\n\n'
        '{"id": 2, "decision": "reject", "reason": "rude"}\n{"id": 3, "decision": "edit", "text": "ü", "reason": null}'
    )
    assert read_decisions(written(tmp_path, text)) == [
        Instruction(line=1, output_id=1, decision="approve"),
        Instruction(line=3, output_id=2, decision="reject", reason="rude"),
        Instruction(line=4, output_id=3, decision="edit", text="ü"),
    ]


def test_every_bad_line_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    bad = [
        '{"id": 1, "decision": "approve"}',
        '{"id": "1", "decision": "approve"}',
        '{"id": 1, "decision": "aprove"}',
        '{"id": true, "decision": "reject", "reason": 3}',
        '{"id": 1, "decision": "reject", "reasn": "x"}',
        "[1]",
        "{",
        '{"decision": "reject"}',
    ]
    with pytest.raises(BadDecisions) as refused:
        read_decisions(written(tmp_path, "\n".join(bad)))
    said = str(refused.value)
    assert [line for line, _ in refused.value.problems] == [2, 3, 4, 5, 6, 7, 8]
    for expected in ("nothing was decided", "line 2: id: must be an output number", "not '1'", "did you mean reason?",
                     "line 3: decision: must be approve, reject, edit, not 'aprove'", "line 7: is not JSON",
                     "reason: must be a text, not 3", "not left out"):  # fmt: skip
        assert expected in said, (expected, said)


@pytest.mark.parametrize(
    ("text", "said"), [("", "has no decision"), ("\n\n", "has no decision"), (b"\xff\xfe", "nothing was decided")]
)
def test_a_file_without_decisions_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_decisions(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.jsonl: cannot be read"):
        read_decisions(str(tmp_path / "no.jsonl"))


def test_of_a_million_bad_lines_only_the_first_are_kept(tmp_path: Path) -> None:
    data = written(tmp_path, "x\n" * 100_000)
    tracemalloc.start()
    with pytest.raises(BadDecisions, match=r"100,000 problems; nothing was decided") as refused:
        read_decisions(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(refused.value.problems) == BadDecisions.SHOWN and "… and 99,980 more" in str(refused.value)
    assert most < 2_000_000, "0.2 MB are read; what is wrong with each line is not kept"


def test_a_file_with_too_many_decisions_is_not_read_to_its_end(tmp_path: Path) -> None:
    text = '{"id": 1, "decision": "approve"}\n' * (MAX_DECISIONS + 2)
    with pytest.raises(UsageError, match=r"has over 5,000 decisions, .* split it"):
        read_decisions(written(tmp_path, text))
