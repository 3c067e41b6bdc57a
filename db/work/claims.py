"""Claiming batches under a lease, renewing, giving back and ending them.

Every change of a claimed batch is fenced by its lease token, so that a worker that lost its lease changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, and_, exists, false, func, or_, select, update

from contract.spec import CLAIMABLE_JOBS, BatchStatus, JobStatus
from db.models import Batch, Job, Output, Prompt
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.work.batches import FREE, LACKS_OUTPUTS, cancel_where_job_is_cancelling, end_batch, release_batches
from db.work.lease import LeaseLost
from db.work.to_score import TO_SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What one worker process can serve."""

    worker: str  # its id, fresh with every process
    model: str
    revision: str
    dtype: str
    device: str  # "cpu", "cuda:0"
    classifiers: tuple[str, ...] = ()
    engine: str = ""
    numerics: str = ""  # see worker.engine.load.numerics
    threads: int = 0
    classifier_revisions: Mapping[str, str] = field(default_factory=dict)  # of those that are loaded


MUST_MATCH = ("revision", "dtype", "engine", "numerics")
"""What the first claim of a job settles, and whoever claims from it later must have alike: then its texts come out the
same. Each is a field of `Ability`, and with "served_" before it a column of jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A batch in the hands of one worker, until its lease runs out."""

    batch_id: int
    job_id: int
    token: str
    alone: bool  # a suspect: nothing may run beside it in its process


def _for_generation(ability: Ability) -> ColumnElement[bool]:
    return and_(
        Batch.status == BatchStatus.PENDING,
        Job.status.in_(CLAIMABLE_JOBS),
        Job.model == ability.model,
        Job.dtype.in_(("auto", ability.dtype)),
        Job.device.in_(("auto", ability.device, ability.device.partition(":")[0])),
        *_matches_served(ability),
    )


def _matches_served(ability: Ability) -> Iterator[ColumnElement[bool]]:
    for name in MUST_MATCH:
        served = Job.__table__.c[f"served_{name}"]
        yield or_(served.is_(None), served == getattr(ability, name))


def _for_scoring(ability: Ability) -> ColumnElement[bool]:
    # What a classifier's revision is shows when it is loaded: one that is not may turn out to be the wanted one.
    other = [
        and_(Job.safety == name, Job.served_classifier_revision != revision)
        for name, revision in ability.classifier_revisions.items()
    ]
    return and_(
        Batch.status == BatchStatus.GENERATED,
        Job.status.in_((*CLAIMABLE_JOBS, JobStatus.CANCELLING)),
        Job.safety.in_(ability.classifiers),
        or_(Job.served_classifier_revision.is_(None), ~or_(false(), *other)),
    )


def claim_generation(
    database: Database, ability: Ability, lease: float, *, hint: int | None = None, suspects: bool = False
) -> Claim | None:
    """Takes a waiting batch to generate: the hinted one, or the oldest that this worker can serve.

    Args:
        lease: seconds until the claim runs out unless it is renewed.
        suspects: take batches that processes died over, those with the fewest deaths first, instead of unmarked ones.
    """
    return _claim(database, ability, lease, _for_generation(ability), BatchStatus.GENERATING, hint, suspects)


def claim_scoring(
    database: Database, ability: Ability, lease: float, *, hint: int | None = None, suspects: bool = False
) -> Claim | None:
    """Takes a generated batch to score, as `claim_generation` does."""
    return _claim(database, ability, lease, _for_scoring(ability), BatchStatus.SCORING, hint, suspects)


def _claim(
    database: Database,
    ability: Ability,
    lease: float,
    claimable: ColumnElement[bool],
    status: BatchStatus,
    hint: int | None,
    suspects: bool,
) -> Claim | None:
    wanted = and_(claimable, Batch.deaths > 0 if suspects else Batch.deaths == 0)
    with database.write() as connection:
        found = _pick(connection, and_(wanted, Batch.id == hint)) if hint is not None else None
        found = found or _pick(connection, wanted)
        if found is None or (status == BatchStatus.GENERATING and not _adopt_job(connection, found, ability)):
            return None
        token = secrets.token_hex(16)
        connection.execute(
            update(Batch)
            .where(Batch.id == found.id)
            .values(
                status=status.value,
                worker=ability.worker,
                lease_token=token,
                lease_until=now() + lease,
                alone=suspects,
            )
        )
    return Claim(batch_id=found.id, job_id=found.job_id, token=token, alone=suspects)


def _pick(connection: Connection, wanted: ColumnElement[bool]) -> Any:
    served = (Job.__table__.c[f"served_{name}"] for name in MUST_MATCH)
    query = select(Batch.id, Batch.job_id, Job.status, *served).join(Job, Job.id == Batch.job_id).where(wanted)
    first = query.order_by(Batch.deaths, Batch.id).limit(1)
    return connection.execute(first.with_for_update(of=Batch, skip_locked=True)).first()


def _adopt_job(connection: Connection, found: Any, ability: Ability) -> bool:
    """The first claim starts the job and settles what serves all of it."""
    served = {name: getattr(ability, name) for name in MUST_MATCH}
    if tuple(found[2:]) == (JobStatus.RUNNING, *served.values()):
        return True
    adopting = (
        update(Job)
        .where(Job.id == found.job_id, *_matches_served(ability), Job.status.in_(CLAIMABLE_JOBS))
        .values(
            status=JobStatus.RUNNING.value,
            started_at=func.coalesce(Job.started_at, now()),
            # Of workers with other numbers of threads that compute the same, the first one's is kept.
            served_threads=func.coalesce(Job.served_threads, ability.threads),
            **{f"served_{name}": value for name, value in served.items()},
        )
    )
    return connection.execute(adopting).rowcount == 1


def adopt_classifier(database: Database, claim: Claim, revision: str) -> bool:
    """The first to score a job's texts settles which revision of its classifier scores all of them.

    Returns:
        Whether that is this revision.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    served = Job.served_classifier_revision
    fitting = update(Job).where(Job.id == claim.job_id, or_(served.is_(None), served == revision))
    with database.write() as connection:
        fence(connection, claim, BatchStatus.SCORING)
        return connection.execute(fitting.values(served_classifier_revision=revision)).rowcount == 1


def waiting_generation(database: Database, ability: Ability, limit: int = 64, *, suspects: bool = False) -> list[int]:
    """The oldest batches that this worker could claim for generation now; of the suspects alone, where told so."""
    return _waiting(database, _for_generation(ability), limit, suspects)


def waiting_scoring(database: Database, ability: Ability, limit: int = 64, *, suspects: bool = False) -> list[int]:
    """The oldest batches that this worker could claim for scoring now; of the suspects alone, where told so."""
    return _waiting(database, _for_scoring(ability), limit, suspects)


def waiting_in_job(database: Database, job_id: int, status: BatchStatus, limit: int = 64) -> list[int]:
    """The oldest batches of a job in that state, whoever can serve them: what a producer tells the queue of."""
    return _waiting(database, and_(Batch.job_id == job_id, Batch.status == status), limit)


def _waiting(database: Database, wanted: ColumnElement[bool], limit: int, suspects: bool = False) -> list[int]:
    wanted = and_(wanted, Batch.deaths > 0) if suspects else wanted
    query = select(Batch.id).join(Job, Job.id == Batch.job_id).where(wanted)
    with database.read() as connection:
        return list(connection.scalars(query.order_by(Batch.deaths, Batch.id).limit(limit)))


def renew_claims(database: Database, claims: Sequence[Claim], lease: float) -> set[str]:
    """Prolongs the claims that still hold. Returns the tokens of those that do not: lost, or their job is cancelled or
    paused."""
    if not claims:
        return set()
    tokens = [claim.token for claim in claims]
    held = Batch.lease_token.in_(tokens)  # late, but taken over by nobody: still ours
    stopping = Job.status.in_((JobStatus.CANCELLING, JobStatus.PAUSED))
    unwanted = and_(stopping, Batch.status == BatchStatus.GENERATING)
    with database.write() as connection:
        lock_rows(connection, Batch, held)
        connection.execute(update(Batch).where(held).values(lease_until=now() + lease))
        good = connection.scalars(
            select(Batch.lease_token).join(Job, Job.id == Batch.job_id).where(held, ~unwanted)
        ).all()
    return set(tokens) - {token for token in good if token is not None}


def fenced(claim: Claim, status: BatchStatus) -> Update:
    """An update of the claimed batch that changes nothing where the claim is not this worker's any more."""
    return update(Batch).where(Batch.id == claim.batch_id, Batch.lease_token == claim.token, Batch.status == status)


def fence(connection: Connection, claim: Claim, expected: BatchStatus, /, **values: Any) -> None:
    """Applies `values` to the claimed batch.

    Raises:
        LeaseLost: where another worker has it now; the caller's transaction must not store anything.
    """
    if connection.execute(fenced(claim, expected).values(**{"status": expected.value} | values)).rowcount != 1:
        raise LeaseLost(f"batch {claim.batch_id} was taken over by another worker")


def release_claim(database: Database, claim: Claim) -> None:
    """Gives a batch back unfinished: another claim takes up what is missing. Stale claims change nothing."""
    with database.write() as connection:
        connection.execute(fenced(claim, BatchStatus.SCORING).values(status=BatchStatus.GENERATED.value, **FREE))
        given = fenced(claim, BatchStatus.GENERATING).values(status=BatchStatus.PENDING.value, **FREE)
        if connection.execute(given).rowcount:
            cancel_where_job_is_cancelling(connection, [claim.batch_id])


def leave_to_lease(database: Database, claim: Claim) -> None:
    """Lets go of a batch that failed here for an unknown reason: nobody claims it before its lease has run out.

    It is this worker's no more, so that nothing that happens to the worker meanwhile is charged to it.
    """
    with database.write() as connection:
        mine = (Batch.id == claim.batch_id) & (Batch.lease_token == claim.token)
        connection.execute(update(Batch).where(mine).values(worker=None, alone=False))


def finish_generation(database: Database, claim: Claim) -> bool:
    """Ends the generation of a batch whose prompts all have their texts or are dead.

    Returns:
        Whether the batch goes on to scoring.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
        RuntimeError: a prompt lacks a text; nothing is changed.
    """
    with database.write() as connection:
        fence(connection, claim, BatchStatus.GENERATING, status=BatchStatus.GENERATED.value, expiries=0, **FREE)
        if _texts_missing(connection, claim):
            raise RuntimeError(f"batch {claim.batch_id} lacks texts and cannot end")
        scoring = _texts_wait(connection, claim)
        if scoring:
            # The generator's deaths are not the scorer's.
            connection.execute(update(Batch).where(Batch.id == claim.batch_id).values(deaths=0))
        else:
            end_batch(connection, claim.batch_id, claim.job_id)
    return scoring


def _texts_missing(connection: Connection, claim: Claim) -> bool:
    """Whoever generates knows what is missing. That no prompt is done without its texts is promised: it is counted."""
    return bool(connection.scalar(select(exists().where(Prompt.batch_id == claim.batch_id, LACKS_OUTPUTS))))


def _texts_wait(connection: Connection, claim: Claim) -> bool:
    waiting = (Output.prompt_id == Prompt.id, Prompt.batch_id == claim.batch_id, TO_SCORE)
    return bool(connection.scalar(select(exists().where(*waiting))))


def finish_scoring(database: Database, claim: Claim) -> None:
    """Ends a batch whose texts are all settled; one that a retry gave more of meanwhile waits for its next claim.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    with database.write() as connection:
        fence(connection, claim, BatchStatus.SCORING, expiries=0)
        if _texts_wait(connection, claim):
            release_batches(connection, [claim.batch_id], deaths=0)
        else:
            end_batch(connection, claim.batch_id, claim.job_id)
