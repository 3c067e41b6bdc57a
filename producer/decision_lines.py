"""A file of decisions: JSON lines with `id`, `decision`, and optional `reason` and `text`.

Checks the form of a line; whether a decision is possible is checked where it is stored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from common.near_misses import did_you_mean
from contract.errors import Problem, UsageError
from contract.review import Action
from db.review.decisions.decision_list import MAX_DECISIONS, BadDecisions, Instruction
from producer.read.admission import BadRow, kind, shown
from producer.read.jsonl import read_object

FIELDS = ("id", "decision", "reason", "text")
DECISIONS = (Action.APPROVE.value, Action.REJECT.value, Action.EDIT.value)
MOST_BYTES = 256 << 20


def read_decisions(name: str) -> list[Instruction]:
    """The decisions in a file; "-" is standard input.

    Raises:
        UsageError: it cannot be read, or has no decisions.
        BadDecisions: naming the first bad lines.
    """
    instructions: list[Instruction] = []
    problems: list[tuple[int, str]] = []
    bad_lines = 0
    for number, line in enumerate(_lines(name), 1):
        try:
            said = read_object(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if said is not None:
                instructions.append(_instruction(number, said))
        except BadRow as bad:
            bad_lines += 1
            if len(problems) < BadDecisions.SHOWN:
                problems.append((number, str(bad)))
        if len(instructions) > MAX_DECISIONS:
            raise UsageError(f"{name}: has over {MAX_DECISIONS:,} decisions, the most that are taken at once; split it")
    if problems:
        raise BadDecisions(problems, bad_lines)
    if not instructions:
        raise UsageError(f'{name}: has no decisions; a line looks like {{"id": 17, "decision": "approve"}}')
    return instructions


def _lines(name: str) -> Iterator[bytes]:
    left = MOST_BYTES
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
            while line := file.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise UsageError(f"{name}: is over {MOST_BYTES >> 20} MB; split it")
                yield line.rstrip(b"\n")
    except OSError as wrong:
        raise UsageError(f"{name}: cannot be read ({wrong.strerror})") from None


def _instruction(number: int, said: dict[str, Any]) -> Instruction:
    problems = [_unknown_field(name) for name in said if name not in FIELDS]
    output: Any = said.get("id")
    decision: Any = said.get("decision")
    if type(output) is not int or not 0 < output < 2**62:
        problems.append(Problem("id", f"must be an output number (`id` in an export), not {_shown(said, 'id')}"))
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
    hint = did_you_mean(name, FIELDS, "use " + ", ".join(FIELDS))
    return Problem(shown(name), f"is not a field of a decision; {hint}")


def _shown(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if name not in said:
        return "left out"
    return repr(value) if isinstance(value, (str, int, float)) and len(repr(value)) < 60 else kind(value)
