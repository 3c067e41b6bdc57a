"""The record: who did what to a job, when, from what to what.

An act is recorded in the transaction that does it. Single decisions have a table of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from common.system_user import system_user
from db.models import RecordedAct
from db.session.engine import Database, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One entry of the record."""

    at: float  # seconds since the epoch
    who: str  # the operating system's user, or a reviewer
    what: str  # reflag, retry, cancel, pause, …
    before: Mapping[str, Any] | None  # what it changed, as it was
    after: Mapping[str, Any] | None  # and as it is since


def record_act(
    connection: Connection,
    what: str,
    job_id: int,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    by: str | None = None,
) -> None:
    """Records an act in the transaction that does it.

    Args:
        by: a reviewer; None = the operating system's user.
    """
    who = by or system_user() or f"uid {os.getuid()}"
    values = {"job_id": job_id, "at": now(), "who": who, "what": what, "before": before, "after": after}
    connection.execute(insert(RecordedAct).values(values))


def record_outside(database: Database, what: str, job_id: int, after: Mapping[str, Any], by: str | None = None) -> None:
    """Records an act that changes nothing in the database, such as an export, right before it is done."""
    with database.write() as connection:
        record_act(connection, what, job_id, after=after, by=by)


def acts_on(database: Database, job_id: int, limit: int = 100) -> list[Act]:
    """The newest acts on a job, oldest first."""
    columns = [RecordedAct.__table__.c[name] for name in Act.__dataclass_fields__]
    newest = select(*columns).where(RecordedAct.job_id == job_id).order_by(RecordedAct.id.desc()).limit(limit)
    with database.read() as connection:
        return [Act(**row._mapping) for row in reversed(connection.execute(newest).all())]
