"""Applying another flag policy to scores that are stored already, a chunk at a time.

A job's `reflagged_to` says how far its policy was applied, and whoever goes on, goes on from there: the command,
another one beside it, an export that needs the flags, or a worker's maintenance after they were killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select, update

from contract.blocklist import blocklist_digest
from contract.errors import UsageError
from contract.policy import NO_SAFETY
from contract.spec import Safety
from db.flagging import BlocklistMatches, Unmatched, flag_outputs, match_blocklists
from db.jobs.jobs import get_job
from db.models import Batch, Job, Output, Prompt
from db.record import record_act
from db.review_sync import sync_reviews
from db.session.engine import Database
from db.session.row_locks import lock_rows
from db.standing import HAS_EDIT

CHUNK_OUTPUTS = 2000


@dataclass(frozen=True, slots=True)
class Reflagged:
    """What a new policy did."""

    flagged: int  # outputs that are flagged now, unscored ones included
    changed: int  # outputs whose flag or whose reasons changed


def reflag_job(
    database: Database,
    job_id: int,
    *,
    thresholds: Mapping[str, float] | None,
    blocklist: tuple[str, ...] | None,
    reset: bool = False,
    by: str | None = None,
) -> Reflagged:
    """Stores the new policy in the job, then flags its outputs by it. None leaves that part as it is.

    Texts that are scored while this runs are flagged by the new policy too: a scorer reads it from the job. So does
    every chunk: of several reflags at once, all apply the one that the job states.

    Args:
        thresholds: of some labels; all others keep theirs.
        reset: all others get the default instead.
        by: as in `record_act`.

    Raises:
        NoSuchJob: there is none with that id.
    """
    get_job(database, job_id)
    policy: dict[str, Any] = {}
    if blocklist is not None:
        policy = {"blocklist": list(blocklist), "blocklist_digest": blocklist_digest(blocklist)}
    with database.write() as connection:
        # Locked: of two that name other labels at once, the second keeps the first one's.
        mine = select(Job.thresholds, Job.blocklist).where(Job.id == job_id).with_for_update(key_share=True)
        before = connection.execute(mine).one()
        policy["thresholds"] = new_thresholds(before.thresholds, thresholds, reset=reset)
        # Before the first output, and another place than where an older one may be about to store its first chunk.
        start = case((Job.reflagged_to <= 0, Job.reflagged_to - 1), else_=0)
        connection.execute(update(Job).where(Job.id == job_id).values(policy | {"reflagged_to": start}))
        after = _policy(policy["thresholds"], before.blocklist if blocklist is None else blocklist)
        old = _policy(before.thresholds, before.blocklist)
        record_act(connection, "reflag", job_id, before=old, after=after, by=by)
    changed = finish_reflag(database, job_id)
    with database.read() as connection:
        flagged = select(func.coalesce(func.sum(Batch.flagged), 0)).where(Batch.job_id == job_id)
        return Reflagged(int(connection.execute(flagged).scalar_one()), changed)


def new_thresholds(
    kept: Mapping[str, float], thresholds: Mapping[str, float] | None, *, reset: bool
) -> dict[str, float]:
    """The thresholds of a job after a reflag, as `reflag_job` is told them."""
    return ({} if reset else dict(kept)) | dict(thresholds or {})


def _policy(thresholds: Mapping[str, float], blocklist: Sequence[str]) -> dict[str, Any]:
    """A policy as the record keeps it: of a blocklist, which may have a million words, how many and which it was."""
    return {"thresholds": dict(thresholds), "words": len(blocklist), "blocklist": blocklist_digest(tuple(blocklist))}


def check_scored(database: Database, job_id: int) -> None:
    """Checks that there is something to reflag.

    Raises:
        NoSuchJob: there is none with that id.
        UsageError: none of its texts is scored.
    """
    if get_job(database, job_id).safety == NO_SAFETY:
        raise UsageError(f"job {job_id} was submitted with --safety none: it has no scores, so nothing can be flagged")
    with database.read() as connection:
        if connection.scalar(select(exists().where(flaggable(job_id)))):
            return
    raise UsageError(
        f"job {job_id} has no scored text yet, so there is nothing to reflag; "
        f"'inkmill status {job_id}' says what it waits for"
    )


def finish_reflag(database: Database, job_id: int) -> int:
    """Applies a job's policy to the end, after a reflag that was killed or together with one that is under way. Returns
    how many outputs changed."""
    changed = 0
    while (some := _advance(database, job_id)) is not None:
        changed += some
    return changed


def unfinished_reflags(database: Database) -> dict[int, int]:
    """Jobs whose policy is not applied to the end, and how far: a reflag works on them now, or was killed half way."""
    query = select(Job.id, Job.reflagged_to).where(Job.reflagged_to.is_not(None))
    with database.read() as connection:
        return {row.id: row.reflagged_to for row in connection.execute(query)}


def continue_reflag(database: Database, job_id: int, *, chunks: int) -> bool:
    """Applies a job's policy from where a reflag stopped, to so many chunks at most. Returns whether all is done."""
    return any(_advance(database, job_id) is None for _ in range(chunks))


def _advance(database: Database, job_id: int) -> int | None:
    """Applies the job's policy to its next outputs. Returns how many changed; None = there are no more."""
    job = select(Job.reflagged_to, Job.thresholds, Job.blocklist_digest).where(Job.id == job_id)
    with database.read() as connection:
        before = connection.execute(job).first()
        if before is None or before.reflagged_to is None:
            return None
        outputs = next_outputs(connection, job_id, before.reflagged_to)
    matched = outputs and before.blocklist_digest
    matches = match_blocklists(database, span(job_id, outputs)) if matched else BlocklistMatches()
    try:
        with database.write() as connection:
            _lock(connection, job_id, outputs)
            # From here to the commit the policy stays as it is, and no scores are saved under it.
            if connection.execute(job.with_for_update(key_share=True)).first() != before:
                return 0  # another was faster, or a newer policy begins at the first output
            # What got its scores since `before` was flagged by this policy then.
            reached = outputs[-1] if outputs else None
            connection.execute(update(Job).where(Job.id == job_id).values(reflagged_to=reached))
            if not outputs:
                return None
            changed = flag_outputs(connection, set(outputs), matches, span(job_id, outputs))
            sync_reviews(connection, changed)
            return len(changed)
    except Unmatched:  # somebody edited one of them meanwhile
        return 0


def flaggable(job_id: int) -> ColumnElement[bool]:
    """A job's outputs whose flags its policy says: those with scores, or with an edit in their place."""
    return and_(Output.job_id == job_id, or_(Output.safety == Safety.SCORED, HAS_EDIT))


def next_outputs(connection: Connection, job_id: int, after: int) -> Sequence[int]:
    """Some of a job's outputs that have flags to judge, behind that one."""
    some = select(Output.id).where(flaggable(job_id), Output.id > after).order_by(Output.id).limit(CHUNK_OUTPUTS)
    return connection.scalars(some).all()


def _lock(connection: Connection, job_id: int, outputs: Sequence[int]) -> None:
    """Outputs, then their batches, in the order in which everybody locks them; the job's row comes last.

    Under these locks no edit comes to stand: which text is judged is read afterwards.
    """
    if outputs:
        lock_rows(connection, Output, span(job_id, outputs), flaggable(job_id))
        batches = select(Prompt.batch_id).join(Output, Output.prompt_id == Prompt.id).where(span(job_id, outputs))
        lock_rows(connection, Batch, Batch.id.in_(batches))


def span(job_id: int, outputs: Sequence[int]) -> ColumnElement[bool]:
    """Where these outputs lie: a query that names thousands of ids is slow on PostgreSQL."""
    return and_(Output.job_id == job_id, Output.id.between(outputs[0], outputs[-1]))
