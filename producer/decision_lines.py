"""A file of decisions: JSON lines with `id`, `decision`, and where it is wanted `reason` and `text`.

Knows what a line looks like; whether a decision can be taken is known where it is stored.
"""

from __future__ import annotations

import sys
from typing import Any

from contract.errors import Problem, UsageError
from contract.review import Action
from contract.sampling import nearest
from db.decision_lists import BadDecisions, Instruction
from producer.jsonl import read_object
from producer.rows import BadRow, kind, shown

FIELDS = ("id", "decision", "reason", "text")
DECISIONS = (Action.APPROVE.value, Action.REJECT.value, Action.EDIT.value)
MOST_BYTES = 256 << 20


def read_decisions(name: str) -> list[Instruction]:
    """The decisions in a file; "-" is standard input.

    Raises:
        UsageError: it cannot be read, or there is no decision in it.
        BadDecisions: naming every line that is none.
    """
    instructions, problems = [], []
    for number, line in enumerate(_read(name).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            said = read_object(line)
            if said is not None:
                instructions.append(_instruction(number, said))
        except BadRow as bad:
            problems.append((number, str(bad)))
    if problems:
        raise BadDecisions(problems)
    if not instructions:
        raise UsageError(f'{name}: has no decision in it; a line is {{"id": 17, "decision": "approve"}}')
    return instructions


def _read(name: str) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MOST_BYTES + 1)
    except OSError as wrong:
        raise UsageError(f"{name}: cannot be read ({wrong.strerror})") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name}: is over {MOST_BYTES >> 20} MB; split it")
    return data


def _instruction(number: int, said: dict[str, Any]) -> Instruction:
    problems = [_unknown_field(name) for name in said if name not in FIELDS]
    output: Any = said.get("id")
    decision: Any = said.get("decision")
    if type(output) is not int or not 0 < output < 2**62:
        problems.append(Problem("id", f"must be an output's number, as an export says it, not {_shown(said, 'id')}"))
    if decision not in DECISIONS:
        problems.append(Problem("decision", f"must be {', '.join(DECISIONS)}, not {_shown(said, 'decision')}"))
    problems += [
        Problem(name, f"must be a text, not {_shown(said, name)}")
        for name in ("reason", "text")
        if type(said.get(name)) not in (str, type(None))
    ]
    if problems:
        raise BadRow(*problems)
    return Instruction(
        line=number, output_id=output, decision=decision, reason=said.get("reason"), text=said.get("text")
    )


def _unknown_field(name: str) -> Problem:
    near = nearest(name, FIELDS)
    hint = f"did you mean {near}?" if near else "use " + ", ".join(FIELDS)
    return Problem(shown(name), f"is no field of a decision; {hint}")


def _shown(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if name not in said:
        return "left out"
    return repr(value) if isinstance(value, (str, int, float)) and len(repr(value)) < 60 else kind(value)
