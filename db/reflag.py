"""Applying another flag policy to scores that are stored already, a chunk at a time.

A job's `reflagged_to` says how far its policy was applied, and whoever goes on, goes on from there: the command,
another one beside it, an export that needs the flags, or a worker's sweeper after they were killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, case, exists, func, or_, select, update

from contract.blocklist import Blocklist
from contract.policy import LABELS, flag_reasons, top_score
from contract.review import State
from contract.spec import Safety
from db.batches import recount
from db.jobs import get_job
from db.models import Batch, Job, Output, Prompt, Score
from db.review_rows import judge_again, refresh
from db.review_tables import Review
from db.session import Database

CHUNK_OUTPUTS = 2000
EDITED = and_(Review.revision > 0, Review.state != State.WAITING)
"""Edits that have their scores; those that wait for them are flagged when they have them."""


@dataclass(frozen=True, slots=True)
class Reflagged:
    """What a new policy did."""

    flagged: int  # outputs that are flagged now, unscored ones included
    changed: int  # outputs whose flag or whose reasons changed


def reflag_job(
    database: Database, job_id: int, *, thresholds: dict[str, float] | None, blocklist: tuple[str, ...] | None
) -> Reflagged:
    """Stores the new policy in the job, then flags its outputs by it. None leaves that part as it is.

    Texts that are scored while this runs are flagged by the new policy too: a scorer reads it from the job. So does
    every chunk: of several reflags at once, all apply the one that the job states.

    Raises:
        UsageError: where there is no such job.
    """
    get_job(database, job_id)
    policy: dict[str, Any] = {} if thresholds is None else {"thresholds": thresholds}
    policy |= {} if blocklist is None else {"blocklist": list(blocklist)}
    # Before the first output, and another place than where an older one may be about to store its first chunk.
    start = case((Job.reflagged_to <= 0, Job.reflagged_to - 1), else_=0)
    with database.write() as connection:
        connection.execute(update(Job).where(Job.id == job_id).values(policy | {"reflagged_to": start}))
    changed = finish_reflag(database, job_id)
    with database.read() as connection:
        flagged = select(func.coalesce(func.sum(Batch.flagged), 0)).where(Batch.job_id == job_id)
        return Reflagged(int(connection.execute(flagged).scalar_one()), changed)


def finish_reflag(database: Database, job_id: int) -> int:
    """Applies a job's policy to the end, after a reflag that was killed or together with one that is under way. Returns
    how many outputs changed."""
    changed = 0
    while (some := _advance(database, job_id)) is not None:
        changed += some
    return changed


def half_reflagged(database: Database) -> dict[int, int]:
    """Jobs whose policy is not applied to the end, and how far: a reflag works on them now, or was killed half way."""
    query = select(Job.id, Job.reflagged_to).where(Job.reflagged_to.is_not(None))
    with database.read() as connection:
        return {row.id: row.reflagged_to for row in connection.execute(query)}


def carry_on(database: Database, job_id: int, *, chunks: int) -> bool:
    """Applies a job's policy from where a reflag stopped, to so many chunks at most. Returns whether all is done."""
    return any(_advance(database, job_id) is None for _ in range(chunks))


def _advance(database: Database, job_id: int) -> int | None:
    """Applies the job's policy to its next outputs. Returns how many changed; None = there are no more."""
    job = select(Job.reflagged_to, Job.thresholds, Job.blocklist, Job.safety).where(Job.id == job_id)
    with database.write() as connection:
        before = connection.execute(job).first()
        if before is None or before.reflagged_to is None:
            return None
        outputs = _locked(connection, job_id, before.reflagged_to)
        # From here to the commit the policy stays as it is, and no scores are saved under it.
        policy = connection.execute(job.with_for_update(key_share=True)).first()
        if policy != before:
            return 0  # another was faster, or a newer policy begins at the first output
        # What got its scores since `before` was flagged by this policy then.
        reached = outputs[-1] if outputs else None
        connection.execute(update(Job).where(Job.id == job_id).values(reflagged_to=reached))
        return _apply(connection, job_id, outputs, policy) if outputs else None


def _locked(connection: Connection, job_id: int, after: int) -> Sequence[int]:
    """The next outputs with scores or edits, then their batches, in the order in which everybody locks them; the job's
    row comes last.

    Under these locks no edit comes to stand: which text is judged is read afterwards.
    """
    edited = exists().where(Review.output_id == Output.id, EDITED)
    mine = and_(Output.job_id == job_id, Output.id > after, or_(Output.safety == Safety.SCORED, edited))
    some = select(Output.id).where(mine).order_by(Output.id).limit(CHUNK_OUTPUTS)
    ids = connection.scalars(some.with_for_update(of=Output, key_share=True)).all()
    if ids:
        batches = select(Prompt.batch_id).join(Output, Output.prompt_id == Prompt.id).where(_span(job_id, ids))
        here = select(Batch.id).where(Batch.id.in_(batches)).order_by(Batch.id)
        connection.execute(here.with_for_update(key_share=True)).all()
    return ids


def _span(job_id: int, outputs: Sequence[int]) -> ColumnElement[bool]:
    """Where these outputs lie: a query that names thousands of ids is slow on PostgreSQL."""
    return and_(Output.job_id == job_id, Output.id.between(outputs[0], outputs[-1]))


def _apply(connection: Connection, job_id: int, outputs: Sequence[int], policy: Any) -> int:
    """Flags texts as they were generated and edits, each by its own scores. Returns how many of the former changed."""
    matcher, locked = Blocklist(policy.blocklist), set(outputs)
    verdicts, batches = [], set()
    for row in _as_generated(connection, _span(job_id, outputs), policy.safety):
        if row.id not in locked:
            continue  # it got its scores meanwhile
        verdict = _verdict(row, policy.thresholds, matcher)
        if verdict["flag_reasons"] != row.flag_reasons:
            verdicts.append(verdict)
            batches.add(row.batch_id)
    if verdicts:
        connection.execute(update(Output).where(Output.id == bindparam("output")), verdicts)
        recount(connection, batches)
        refresh(connection, [verdict["output"] for verdict in verdicts])
    edits = select(Output.id).join(Review, Review.output_id == Output.id).where(_span(job_id, outputs), EDITED)
    judge_again(connection, [output for output in connection.scalars(edits) if output in locked])
    return len(verdicts)


def _as_generated(connection: Connection, here: ColumnElement[bool], classifier: str) -> Sequence[Row[Any]]:
    labels = [Score.__table__.c[label] for label in LABELS]
    scores = and_(Score.output_id == Output.id, Score.revision == 0, Score.classifier == classifier)
    query = (
        select(Output.id, Output.text, Output.flag_reasons, Prompt.batch_id, *labels)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Score, scores)
        .outerjoin(Review, Review.output_id == Output.id)
        .where(here, Output.safety == Safety.SCORED)
        .where(or_(Review.output_id.is_(None), Review.revision == 0))
    )
    return connection.execute(query).all()


def _verdict(row: Row[Any], thresholds: dict[str, float], matcher: Blocklist) -> dict[str, Any]:
    scores = {label: score for label in LABELS if (score := getattr(row, label)) is not None}
    reasons = flag_reasons(scores, thresholds, matcher.find(row.text))
    return {"output": row.id, "flagged": bool(reasons), "flag_reasons": reasons or None, "top_score": top_score(scores)}
