"""One decision of many outputs: approving or rejecting them, and undoing that.

Some hundreds are decided in one transaction; an output that cannot be decided is skipped, and the result says why.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select

from contract.errors import InkmillError, NoSuchOutput, UsageError
from contract.review import LONGEST_REASON, Action, Filter, Seen, State, checked_name, checked_text
from db.flagging import BlocklistMatches, with_matches
from db.models import Output
from db.review.decisions.record import record_bulk, store_decisions
from db.review.decisions.rules import (
    LockedOutput,
    Step,
    check_claim,
    check_key,
    check_version,
    lock_outputs,
    next_step,
    read_action,
    undo_step,
)
from db.review.queue import matching_versions
from db.review_models import Decision
from db.session.dialect import id_chunks
from db.session.engine import Database

CHUNK_DECISIONS = 250
"""What one transaction decides of many: other writers wait for less than a second."""
MakeStep = Callable[[Connection, LockedOutput, str | None], Step]
"""The step of one output of many, under a key of its own."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An output that a decision of many skipped, and why."""

    output_id: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What became of a decision of many outputs."""

    ids: tuple[int, ...]  # decided
    skipped: tuple[Skipped, ...]

    @property
    def decided(self) -> int:
        return len(self.ids)


def decide_many(
    database: Database,
    ids: Sequence[int],
    reviewer: str,
    action: str,
    *,
    reason: str | None = None,
    expected: Mapping[int, int] | None = None,
    among: Container[int] | None = None,
    key: str | None = None,
    looks: Mapping[int, Seen] | None = None,
) -> BulkResult:
    """Approves or rejects many outputs, some hundreds in a transaction; killed half way, the same again completes it.

    Outputs that another reviewer has in hand, that are so already, or that changed since the expected version are
    skipped, and reported.

    Args:
        expected: versions by output, where the caller saw them.
        among: the outputs that may still be decided, where the caller knows.
        key: as in `decide`, one for all.
        looks: how the reviewer saw each text, for the record.

    Raises:
        NoSuchOutput: some of them do not exist; nothing was stored.
        UsageError: the action is not for many; nothing was stored.
    """
    wanted = read_action(action, None)
    reviewer, reason = checked_name(reviewer), checked_text("reason", reason, LONGEST_REASON)
    check_key(key)
    unique_ids = list(dict.fromkeys(ids))
    _check_all_there(database, unique_ids)

    def steps(connection: Connection, output: LockedOutput, own_key: str | None) -> Step:
        check_version(connection, output, (expected or {}).get(output.id))
        if among is not None and output.id not in among:
            raise UsageError("no longer matches")
        if output.state == {Action.APPROVE: State.APPROVED, Action.REJECT: State.REJECTED}[wanted]:
            raise UsageError(f"already {output.state}, by {output.decided_by}")
        return next_step(output, wanted, reason=reason, key=own_key, seen=(looks or {}).get(output.id))

    return _in_chunks(database, unique_ids, reviewer, key, steps)


def decide_matching(
    database: Database,
    wanted: Filter,
    reviewer: str,
    action: str,
    *,
    seen: Mapping[int, int],
    reason: str | None = None,
    key: str | None = None,
    looks: Mapping[int, Seen] | None = None,
) -> BulkResult:
    """Approves or rejects what the reviewer saw match a filter, as `decide_many`: what has come to match since is left
    alone, and what no longer matches is skipped, and reported.

    Args:
        seen: versions by output, as `matching_versions` told them when they were counted.
        key: as in `decide_many`; what was decided under it before the call was cut off counts in the answer.
        looks: as in `decide_many`.

    Raises:
        NoSuchOutput, UsageError: as `decide_many`.
    """
    now = {output for output, _ in matching_versions(database, wanted)}
    return decide_many(
        database,
        list(seen),
        reviewer,
        action,
        reason=reason,
        expected=seen,
        among=now,
        key=key,
        looks=looks,
    )


def undo_many(
    database: Database,
    of: str,
    reviewer: str,
    *,
    key: str | None = None,
) -> BulkResult:
    """Undoes what the reviewer's own decision of many decided; what was decided again since is skipped, and reported.

    Args:
        of: that decision's key.
        key: as in `decide_many`.

    Raises:
        UsageError: nothing was decided under that key.
    """
    reviewer = checked_name(reviewer)
    check_key(key)
    entries = _entries(database, of, reviewer)
    if not entries:
        raise UsageError(f"{reviewer} has no decisions under the key {of[:40]!r}")

    def steps(connection: Connection, output: LockedOutput, own_key: str | None) -> Step:
        if output.decision_id not in (None, entries[output.id]):
            raise UsageError(f"decided again since, by {output.decided_by}")
        return undo_step(connection, output, own_key)

    return _in_chunks(database, list(entries), reviewer, key, steps)


def _entries(database: Database, key: str | None, reviewer: str) -> dict[int, int]:
    """What a decision of many has decided so far: its entries' numbers by output, in the order of outputs."""
    check_key(key)
    if key is None:
        return {}
    of_this_bulk = (Decision.reviewer == reviewer, Decision.key.startswith(f"{key}:", autoescape=True))
    query = select(Decision.output_id, Decision.id).where(*of_this_bulk).order_by(Decision.output_id)
    with database.read() as connection:
        return {row.output_id: row.id for row in connection.execute(query)}


def _in_chunks(
    database: Database,
    ids: Sequence[int],
    reviewer: str,
    key: str | None,
    make: MakeStep,
) -> BulkResult:
    done: list[int] = []
    skipped: list[Skipped] = []
    for first in range(0, len(ids), CHUNK_DECISIONS):
        chunk = ids[first : first + CHUNK_DECISIONS]
        passed = with_matches(database, partial(_decide_chunk, chunk, reviewer, key, make))
        done += [output for output in chunk if output not in {skip.output_id for skip in passed}]
        skipped += passed
    return BulkResult(ids=tuple(done), skipped=tuple(skipped))


def _decide_chunk(
    chunk: Sequence[int],
    reviewer: str,
    key: str | None,
    make: MakeStep,
    connection: Connection,
    matches: BlocklistMatches,
) -> list[Skipped]:
    """Returns those that were skipped."""
    keys = {output: f"{key}:{output}" for output in chunk} if key else {}
    there = lock_outputs(connection, chunk)  # first, so that what the same call has done meanwhile is seen
    decided = set(connection.scalars(select(Decision.output_id).where(Decision.key.in_(keys.values()))))
    steps, passed = [], []
    for output_id, output in there.items():
        if output_id in decided:  # by this very call, before it was cut off
            continue
        try:
            check_claim(output, reviewer)
            steps.append(make(connection, output, keys.get(output_id)))
        except InkmillError as error:
            passed.append(Skipped(output_id, str(error).removeprefix(f"output {output_id}: ")))
    store_decisions(connection, reviewer, steps, matches)
    record_bulk(connection, reviewer, steps)
    return passed


def _check_all_there(database: Database, ids: Sequence[int]) -> None:
    missing: list[int] = []
    with database.read() as connection:
        for chunk in id_chunks(ids):
            there = set(connection.scalars(select(Output.id).where(Output.id.in_(chunk))))
            missing += [output for output in chunk if output not in there]
    if missing:
        raise NoSuchOutput(*missing)
