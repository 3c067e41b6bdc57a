"""A list of decisions, each its own, taken whole or not at all: what scripts hand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from contract.errors import InkmillError, NoSuchOutput, UsageError
from contract.review import LONGEST_REASON, checked_name, checked_text
from db.flagging import Matches, judging
from db.review.decisions.record import enter
from db.review.decisions.rules import (
    Decided,
    Standing,
    Step,
    check_claim,
    locked,
    next_step,
    read_action,
)
from db.search import indexed
from db.session.dialect import id_chunks
from db.session.engine import Database

MOST_DECISIONS = 5_000
MOST_CHARACTERS = 5_000_000
"""Of edited texts. One transaction takes them all, and other writers wait for less than a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One line of a list."""

    line: int  # its number, from 1, for errors
    output_id: int
    decision: str  # approve, reject, edit
    reason: str | None = None
    text: str | None = None  # of an edit


class BadDecisions(UsageError):
    """A list that cannot be taken: its first problems, by line, and how many there are. Nothing was stored."""

    SHOWN = 20

    def __init__(self, problems: Sequence[tuple[int, str]], total: int) -> None:
        self.problems, self.total = tuple(problems[: self.SHOWN]), total
        shown = "\n".join(f"  line {line}: {what}" for line, what in self.problems)
        more = total - len(self.problems)
        shown += f"\n  … and {more:,} more" if more > 0 else ""
        noun = "problem" if total == 1 else "problems"
        super().__init__(f"{total:,} {noun}; nothing was decided\n{shown}")


def decide_list(database: Database, instructions: Sequence[Instruction], reviewer: str) -> list[Decided]:
    """Takes every decision of a list in one transaction, after all of them were checked.

    Raises:
        BadDecisions: lines that cannot be taken; nothing was stored.
        UsageError: the list is too long, or the name is none.
    """
    reviewer = checked_name(reviewer)
    if len(instructions) > MOST_DECISIONS:
        raise UsageError(
            f"{len(instructions):,} decisions: at most {MOST_DECISIONS:,} are taken together; split the list"
        )
    written = sum(len(one.text or "") for one in instructions)
    if written > MOST_CHARACTERS:
        raise UsageError(
            f"{written:,} characters of edited texts: at most {MOST_CHARACTERS:,} are taken together; split the list"
        )
    words = {one.line: indexed(one.text) for one in instructions if one.text is not None}
    ids = sorted({one.output_id for one in instructions})

    def store(connection: Connection, matches: Matches) -> list[Decided]:
        outputs: dict[int, Standing] = {}
        for chunk in id_chunks(ids):
            outputs |= locked(connection, chunk)
        steps = _checked(instructions, words, outputs, reviewer)
        return enter(connection, reviewer, steps, matches)

    return judging(database, store)


def _checked(
    instructions: Sequence[Instruction], words: Mapping[int, str], outputs: Mapping[int, Standing], reviewer: str
) -> list[Step]:
    problems: list[tuple[int, str]] = []
    steps: list[Step] = []
    seen: dict[int, int] = {}
    for one in instructions:
        try:
            if one.output_id in seen:
                raise UsageError(f"output {one.output_id} is decided on line {seen[one.output_id]} already")
            seen[one.output_id] = one.line
            output = outputs.get(one.output_id)
            if output is None:
                raise NoSuchOutput(one.output_id)
            action = read_action(one.decision, one.text)
            reason = checked_text("reason", one.reason, LONGEST_REASON)
            check_claim(output, reviewer)
            said = words.get(one.line)
            steps.append(next_step(output, action, reason=reason, text=one.text, words=said, key=None))
        except InkmillError as error:
            problems.append((one.line, str(error)))
    if problems:
        raise BadDecisions(problems, len(problems))
    return steps
