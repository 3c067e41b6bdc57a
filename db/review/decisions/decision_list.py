"""A list of decisions, each its own, taken whole or not at all: what scripts hand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from contract.errors import InkmillError, NoSuchOutput, UsageError
from contract.review import LONGEST_REASON, checked_name, checked_text
from db.flagging import BlocklistMatches, with_matches
from db.review.decisions.record import record_bulk, store_decisions
from db.review.decisions.rules import (
    LockedOutput,
    Step,
    StoredDecision,
    check_claim,
    lock_outputs,
    next_step,
    read_action,
)
from db.search import search_words
from db.session.dialect import id_chunks
from db.session.engine import Database

MAX_DECISIONS = 5_000
MAX_EDIT_CHARACTERS = 5_000_000
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


def decide_list(database: Database, instructions: Sequence[Instruction], reviewer: str) -> list[StoredDecision]:
    """Takes every decision of a list in one transaction, after all of them were checked.

    Raises:
        BadDecisions: lines that cannot be taken; nothing was stored.
        UsageError: the list is too long, or the name is none.
    """
    reviewer = checked_name(reviewer)
    if len(instructions) > MAX_DECISIONS:
        raise UsageError(
            f"{len(instructions):,} decisions: at most {MAX_DECISIONS:,} are accepted at once; split the list"
        )
    written = sum(len(one.text or "") for one in instructions)
    if written > MAX_EDIT_CHARACTERS:
        raise UsageError(
            f"{written:,} characters of edited texts: at most {MAX_EDIT_CHARACTERS:,} are accepted at once; "
            "split the list"
        )
    words = {one.line: search_words(one.text) for one in instructions if one.text is not None}
    ids = sorted({one.output_id for one in instructions})

    def store(connection: Connection, matches: BlocklistMatches) -> list[StoredDecision]:
        outputs: dict[int, LockedOutput] = {}
        for chunk in id_chunks(ids):
            outputs |= lock_outputs(connection, chunk)
        steps = _checked(instructions, words, outputs, reviewer)
        if len(steps) > 1:
            record_bulk(connection, reviewer, steps)
        return store_decisions(connection, reviewer, steps, matches)

    return with_matches(database, store)


def _checked(
    instructions: Sequence[Instruction], words: Mapping[int, str], outputs: Mapping[int, LockedOutput], reviewer: str
) -> list[Step]:
    problems: list[tuple[int, str]] = []
    steps: list[Step] = []
    seen: dict[int, int] = {}
    for instruction in instructions:
        try:
            if instruction.output_id in seen:
                raise UsageError(
                    f"output {instruction.output_id} is already decided on line {seen[instruction.output_id]}"
                )
            seen[instruction.output_id] = instruction.line
            output = outputs.get(instruction.output_id)
            if output is None:
                raise NoSuchOutput(instruction.output_id)
            action = read_action(instruction.decision, instruction.text)
            reason = checked_text("reason", instruction.reason, LONGEST_REASON)
            check_claim(output, reviewer)
            searchable = words.get(instruction.line)
            steps.append(next_step(output, action, reason=reason, text=instruction.text, words=searchable, key=None))
        except InkmillError as error:
            problems.append((instruction.line, str(error)))
    if problems:
        raise BadDecisions(problems, len(problems))
    return steps
