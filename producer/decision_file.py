"""A file of decisions: JSON lines with `id`, `decision`, and optionally `reason` and `text`.

Checks the fields of each line; `db.review.decisions` checks whether the decision is possible.
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
from producer.read.formats.jsonl import read_object
from producer.read.row_parser import BadRow, printable, type_name

FIELDS = ("id", "decision", "reason", "text")
DECISIONS = (Action.APPROVE.value, Action.REJECT.value, Action.EDIT.value)
MAX_BYTES = 256 << 20


def read_decisions(name: str) -> list[Instruction]:
    """The decisions in the file `name`; "-" is standard input.

    Raises:
        UsageError: it cannot be read, or has no decisions.
        BadDecisions: it has bad lines, the first of which are named.
    """
    instructions: list[Instruction] = []
    problems: list[tuple[int, str]] = []
    bad_lines = 0
    for number, line in enumerate(_lines(name), 1):
        try:
            record = read_object(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if record is not None:
                instructions.append(_instruction(number, record))
        except BadRow as bad:
            bad_lines += 1
            if len(problems) < BadDecisions.SHOWN:
                problems.append((number, str(bad)))
        if len(instructions) > MAX_DECISIONS:
            raise UsageError(
                f"{name}: has over {MAX_DECISIONS:,} decisions, the most that are accepted at once; split it"
            )
    if problems:
        raise BadDecisions(problems, bad_lines)
    if not instructions:
        raise UsageError(f'{name}: has no decisions; a line looks like {{"id": 17, "decision": "approve"}}')
    return instructions


def _lines(name: str) -> Iterator[bytes]:
    bytes_left = MAX_BYTES
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
            while line := file.readline(bytes_left + 1):
                bytes_left -= len(line)
                if bytes_left < 0:
                    raise UsageError(f"{name}: is over {MAX_BYTES >> 20} MB; split it")
                yield line.rstrip(b"\n")
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from None


def _instruction(number: int, record: dict[str, Any]) -> Instruction:
    problems = [_unknown_field(name) for name in record if name not in FIELDS]
    output_id: Any = record.get("id")
    decision: Any = record.get("decision")
    if type(output_id) is not int or not 0 < output_id < 2**62:
        problems.append(Problem("id", f"must be an output number (`id` in an export), not {_value_text(record, 'id')}"))
    if decision not in DECISIONS:
        problems.append(Problem("decision", f"must be {', '.join(DECISIONS)}, not {_value_text(record, 'decision')}"))
    problems += [
        Problem(name, f"must be a text, not {_value_text(record, name)}")
        for name in ("reason", "text")
        if type(record.get(name)) not in (str, type(None))
    ]
    if problems:
        raise BadRow(*problems)
    return Instruction(
        line=number, output_id=output_id, decision=decision, reason=record.get("reason"), text=record.get("text")
    )


def _unknown_field(name: str) -> Problem:
    hint = did_you_mean(name, FIELDS, "use " + ", ".join(FIELDS))
    return Problem(printable(name), f"is not a field of a decision; {hint}")


def _value_text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if name not in record:
        return "left out"
    return repr(value) if isinstance(value, (str, int, float)) and len(repr(value)) < 60 else type_name(value)
