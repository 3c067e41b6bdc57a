"""Applying another flag policy to scores that are stored already, a chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update

from contract.blocklist import Blocklist
from contract.policy import LABELS, flag_reasons, top_score
from contract.review import State
from contract.spec import Safety
from db.batches import recount
from db.jobs import get_job
from db.models import Job, Output, Prompt, Score
from db.review_rows import judge_again, refresh
from db.review_tables import Review
from db.session import Database

CHUNK_OUTPUTS = 2000


@dataclass(frozen=True, slots=True)
class Reflagged:
    """What a new policy did."""

    flagged: int  # outputs that are flagged now, unscored ones included
    changed: int  # outputs whose flag or whose reasons changed


def reflag_job(
    database: Database, job_id: int, *, thresholds: dict[str, float] | None, blocklist: tuple[str, ...] | None
) -> Reflagged:
    """Stores the new policy in the job, then flags its outputs by it. None leaves that part as it is.

    Texts that are scored while this runs are flagged by the new policy too: a scorer reads it from the job.

    Raises:
        UsageError: where there is no such job.
    """
    job = get_job(database, job_id)
    thresholds = job.thresholds if thresholds is None else thresholds
    words = job.blocklist if blocklist is None else blocklist
    with database.write() as connection:
        connection.execute(update(Job).where(Job.id == job_id).values(thresholds=thresholds, blocklist=list(words)))
    matcher = Blocklist(words)
    flagged = changed = last = 0
    while True:
        with database.write() as connection:
            rows = _chunk(connection, job_id, job.safety, last)
            if not rows:
                break
            last = rows[-1].id
            verdicts = [_verdict(row, thresholds, matcher) for row in rows]
            flagged += sum(verdict["flagged"] for verdict in verdicts)
            different = [v for v, row in zip(verdicts, rows, strict=True) if v["flag_reasons"] != row.flag_reasons]
            changed += len(different)
            _apply(connection, different, {row.batch_id for row in rows})
    _reflag_edits(database, job_id)
    with database.read() as connection:
        return Reflagged(flagged + _others(connection, job_id), changed)


def _chunk(connection: Connection, job_id: int, classifier: str, after: int) -> list[Row[Any]]:
    labels = [Score.__table__.c[label] for label in LABELS]
    scores = and_(Score.output_id == Output.id, Score.revision == 0, Score.classifier == classifier)
    query = (
        select(Output.id, Output.text, Output.flag_reasons, Prompt.batch_id, *labels)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Score, scores)
        .outerjoin(Review, Review.output_id == Output.id)
        .where(Output.job_id == job_id, Output.id > after, Output.safety == Safety.SCORED)
        .where(or_(Review.output_id.is_(None), Review.revision == 0))
        .order_by(Output.id)
        .limit(CHUNK_OUTPUTS)
        # An edit that comes to stand meanwhile is flagged after this, by its own scores.
        .with_for_update(of=Output, key_share=True)
    )
    return list(connection.execute(query))


def _verdict(row: Row[Any], thresholds: dict[str, float], matcher: Blocklist) -> dict[str, Any]:
    scores = {label: score for label in LABELS if (score := getattr(row, label)) is not None}
    reasons = flag_reasons(scores, thresholds, matcher.find(row.text))
    return {"output": row.id, "flagged": bool(reasons), "flag_reasons": reasons or None, "top_score": top_score(scores)}


def _apply(connection: Connection, verdicts: list[dict[str, Any]], batches: set[int]) -> None:
    if verdicts:
        connection.execute(update(Output).where(Output.id == bindparam("output")), verdicts)
        recount(connection, batches)
        refresh(connection, [verdict["output"] for verdict in verdicts])


def _reflag_edits(database: Database, job_id: int) -> None:
    """Edited texts are flagged by their own scores; those that wait for them, when they have them."""
    edited = and_(Review.job_id == job_id, Review.revision > 0, Review.state != State.WAITING)
    some = select(Review.output_id).where(edited).order_by(Review.output_id).limit(CHUNK_OUTPUTS)
    last = 0
    while True:
        with database.write() as connection:
            ids = connection.scalars(some.where(Review.output_id > last)).all()
            if not ids:
                return
            last = ids[-1]
            connection.execute(
                select(Output.id).where(Output.id.in_(ids)).order_by(Output.id).with_for_update(key_share=True)
            ).all()
            judge_again(connection, ids)


def _others(connection: Connection, job_id: int) -> int:
    """How many of those are flagged that the policy was not applied to here: unscored ones, and edits."""
    unscored = and_(Output.job_id == job_id, Output.safety == Safety.UNSCORED, Output.flagged)
    edited = and_(Review.job_id == job_id, Review.revision > 0, Review.flagged)
    first = connection.scalars(select(Output.id).where(unscored)).all()
    return len({*first, *connection.scalars(select(Review.output_id).where(edited))})
