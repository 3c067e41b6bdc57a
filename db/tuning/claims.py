"""Claiming tunings under a lease, renewing, giving back and ending them.

Every change of a claimed tuning is fenced by its token, as a batch's is, so that a worker that lost its lease changes
nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, and_, case, exists, func, or_, select, update

from contract.spec import TuningStatus
from db.session.engine import Database, now
from db.tuning_models import Tuning
from db.work.lease import NO_LEASE, LeaseLost, shortened

DEATHS_BEFORE_FAILED = 5
"""Processes that may die in a row without a step further than ever before."""
_HELD = Tuning.status.in_((TuningStatus.RUNNING, TuningStatus.CANCELLING))
_CANCELLING = Tuning.status == TuningStatus.CANCELLING


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningClaim:
    """A tuning in the hands of one worker, until its lease runs out."""

    tuning_id: int
    token: str
    name: str
    base: str
    order: Mapping[str, Any]
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingTuning:
    """A tuning that could be claimed."""

    tuning_id: int
    folder: str


def _claimable(device: str) -> ColumnElement[bool]:
    return and_(Tuning.status == TuningStatus.QUEUED, Tuning.device.in_(("auto", device, device.partition(":")[0])))


def waiting_tunings(database: Database, device: str, limit: int = 64) -> list[WaitingTuning]:
    """The oldest tunings that a worker could claim now, as far as its device says.

    Args:
        device: the worker's, "cpu" or "cuda:0".
    """
    query = select(Tuning.id, Tuning.folder).where(_claimable(device)).order_by(Tuning.deaths, Tuning.id).limit(limit)
    with database.read() as connection:
        return [WaitingTuning(tuning_id=row.id, folder=row.folder) for row in connection.execute(query)]


def claim_tuning(
    database: Database, worker: str, device: str, lease: float, *, among: Collection[int] | None = None
) -> TuningClaim | None:
    """Takes the oldest waiting tuning; those over which processes died come last.

    Args:
        device: the worker's, "cpu" or "cuda:0".
        lease: seconds until the claim runs out unless it is renewed.
        among: tunings whose folders are on this machine; None = whichever.
    """
    wanted = _claimable(device) if among is None else and_(_claimable(device), Tuning.id.in_(among))
    first = select(Tuning).where(wanted).order_by(Tuning.deaths, Tuning.id).limit(1)
    with database.read() as connection:  # most look in vain, and then take no write lock
        if connection.execute(first).first() is None:
            return None
    with database.write() as connection:
        row = connection.execute(first.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        token = secrets.token_hex(16)
        claimed = {
            "status": TuningStatus.RUNNING.value, "worker": worker, "lease_token": token, "lease_until": now() + lease,
            "started_at": func.coalesce(Tuning.started_at, now()),
        }  # fmt: skip
        connection.execute(update(Tuning).where(Tuning.id == row.id).values(claimed))
    return TuningClaim(tuning_id=row.id, token=token, name=row.name, base=row.base, order=row.order, folder=row.folder)


def renew_tuning(database: Database, claim: TuningClaim, lease: float) -> bool:
    """Prolongs a claim. Returns whether the tuning is still this worker's, and still wanted: a cancelled one is not."""
    with database.write() as connection:
        renewed = mine(claim).values(lease_until=now() + lease).returning(Tuning.status)
        return connection.execute(renewed).scalar() == TuningStatus.RUNNING


def mine(claim: TuningClaim) -> Update:
    """An update of the claimed tuning that changes nothing where the claim is not this worker's any more."""
    return update(Tuning).where(Tuning.id == claim.tuning_id, Tuning.lease_token == claim.token, _HELD)


def fence(connection: Connection, claim: TuningClaim, **values: Any) -> None:
    """Applies `values` to the claimed tuning.

    Raises:
        LeaseLost: where another worker has it now; the caller's transaction must not store anything.
    """
    if connection.execute(mine(claim).values({"worker": Tuning.worker} | values)).rowcount != 1:
        raise LeaseLost(f"tuning t{claim.tuning_id} was taken over by another worker, or nobody wants it any more")


def settle_device(database: Database, claim: TuningClaim, kind: str) -> None:
    """A tuning that any device might have taken has begun on one: from now on only such a one goes on with it.

    Args:
        kind: "cpu" or "cuda".

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    with database.write() as connection:
        fence(connection, claim, device=case((Tuning.device == "auto", kind), else_=Tuning.device))


def release_tuning(database: Database, claim: TuningClaim) -> None:
    """Gives a tuning back unfinished: the next claim goes on from its last checkpoint; a cancelled one ends. Stale
    claims change nothing."""
    with database.write() as connection:
        connection.execute(mine(claim).values(_given_back()))


def pause_tuning(database: Database, claim: TuningClaim, reason: str, code: str | None = None) -> None:
    """Sets a tuning aside that cannot go on for now, such as with a full disk, until it is retried.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    _end(database, claim, TuningStatus.PAUSED, reason, code)


def fail_tuning(database: Database, claim: TuningClaim, reason: str, code: str | None = None) -> None:
    """Ends a tuning with an error; one that was cancelled meanwhile is cancelled.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    _end(database, claim, TuningStatus.FAILED, reason, code)


def _end(database: Database, claim: TuningClaim, status: TuningStatus, reason: str, code: str | None) -> None:
    over = {
        "status": case((_CANCELLING, TuningStatus.CANCELLED.value), else_=status.value),
        "error": case((_CANCELLING, None), else_=shortened(reason)),
        "code": case((_CANCELLING, None), else_=code),
        "finished_at": case((_CANCELLING, now()), else_=None if status == TuningStatus.PAUSED else now()),
    }
    with database.write() as connection:
        fence(connection, claim, **over, **NO_LEASE)


def sweep_tunings(database: Database) -> int:
    """Takes back the tunings whose lease ran out. Returns how many."""
    ran_out = and_(_HELD, Tuning.lease_until < now())
    with database.read() as connection:  # most sweeps find nothing, and then take no write lock
        if not connection.scalar(select(exists().where(ran_out))):
            return 0
    with database.write() as connection:
        late = select(Tuning.id).where(ran_out).order_by(Tuning.id).with_for_update(skip_locked=True)
        ids = connection.scalars(late).all()
        connection.execute(update(Tuning).where(Tuning.id.in_(ids)).values(_given_back()))
    return len(ids)


def release_worker_tunings(database: Database, worker: str) -> int:
    """Frees what a worker that left in order still held. Returns how many tunings."""
    with database.write() as connection:
        return connection.execute(update(Tuning).where(_HELD, Tuning.worker == worker).values(_given_back())).rowcount


def mark_tuning_death(database: Database, worker: str, how: str) -> int:
    """A process died that was tuning: what it had is taken back and goes on from its last checkpoint, or is given up
    where that happened too often without getting any further. Returns how many tunings.

    Args:
        worker: the id of the worker whose process died.
        how: what its parent saw: "was killed by signal 9", "exited with status 1".
    """
    too_often = and_(~_CANCELLING, Tuning.deaths + 1 >= DEATHS_BEFORE_FAILED)
    reason = f"the process {how} {DEATHS_BEFORE_FAILED} times in a row without getting any further"
    back = _given_back() | {
        "deaths": Tuning.deaths + 1,
        "status": case((too_often, TuningStatus.FAILED.value), (_CANCELLING, TuningStatus.CANCELLED.value),
                       else_=TuningStatus.QUEUED.value),
        "error": case((too_often, reason), else_=None),
        "code": case((too_often, "killed-worker"), else_=None),
        "finished_at": case((or_(too_often, _CANCELLING), now()), else_=None),
    }  # fmt: skip
    with database.write() as connection:
        return connection.execute(update(Tuning).where(_HELD, Tuning.worker == worker).values(back)).rowcount


def _given_back() -> dict[str, Any]:
    """The columns of a tuning that nobody holds any more."""
    return {
        "status": case((_CANCELLING, TuningStatus.CANCELLED.value), else_=TuningStatus.QUEUED.value),
        "finished_at": case((_CANCELLING, now()), else_=None),
        **NO_LEASE,
    }
