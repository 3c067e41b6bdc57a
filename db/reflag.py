"""Applying another flag policy to scores that are stored already, a chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, select, update

from contract.blocklist import Blocklist
from contract.policy import LABELS, flag_reasons, top_score
from contract.spec import Safety
from db.batches import recount
from db.jobs import get_job
from db.models import Job, Output, Prompt, Score
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
                return Reflagged(flagged + _unscored(connection, job_id), changed)
            last = rows[-1].id
            verdicts = [_verdict(row, thresholds, matcher) for row in rows]
            flagged += sum(verdict["flagged"] for verdict in verdicts)
            different = [v for v, row in zip(verdicts, rows, strict=True) if v["flag_reasons"] != row.flag_reasons]
            changed += len(different)
            _apply(connection, different, {row.batch_id for row in rows})


def _chunk(connection: Connection, job_id: int, classifier: str, after: int) -> list[Row[Any]]:
    labels = [Score.__table__.c[label] for label in LABELS]
    scores = and_(Score.output_id == Output.id, Score.revision == 0, Score.classifier == classifier)
    query = (
        select(Output.id, Output.text, Output.flag_reasons, Prompt.batch_id, *labels)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Score, scores)
        .where(Output.job_id == job_id, Output.id > after, Output.safety == Safety.SCORED)
        .order_by(Output.id)
        .limit(CHUNK_OUTPUTS)
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


def _unscored(connection: Connection, job_id: int) -> int:
    unscored = select(Output.id).where(Output.job_id == job_id, Output.safety == Safety.UNSCORED)
    return len(connection.scalars(unscored).all())
