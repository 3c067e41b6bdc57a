"""The lease of a producer on the job that it writes: while it is renewed its producer lives, and nothing else says so.

A producer's host and process are named to people; another container may know neither, or know others by them.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Update, func, select, update

from contract.errors import DatabaseUnreachable
from contract.spec import JobStatus
from db.models import Job
from db.session.engine import Database, now

LEASE_SECONDS = 15.0
"""What a file that was being submitted by a killed command has to wait for at most, before it is submitted again."""
RENEWALS = 4
"""How often a lease is renewed before it would run out."""
POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestState:
    """A job that is there already, and how its producer's lease stands."""

    id: int
    status: str
    producer: str | None
    until: float
    left: float  # seconds


def new_producer() -> str:
    """This submission: host:pid:token."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"


def producer_in_words(producer: str | None) -> str:
    """A producer as people know it."""
    host, pid, _ = (producer or "::").rsplit(":", 2)
    return f"process {pid} on {host}"


def update_if_owned(job_id: int, producer: str | None) -> Update:
    """An update of an ingesting job that changes nothing where another producer has it now."""
    return update(Job).where(Job.id == job_id, Job.status == JobStatus.INGESTING, Job.producer == producer)


def lease_ran_out() -> ColumnElement[bool]:
    """Whether a job's lease ended without a renewal; one without any has."""
    return func.coalesce(Job.ingest_until, 0.0) < now()


def find_ingests(database: Database, *wanted: ColumnElement[bool]) -> list[IngestState]:
    """The jobs that meet the conditions."""
    until = func.coalesce(Job.ingest_until, 0.0)
    query = select(Job.id, Job.status, Job.producer, until.label("until"), (until - now()).label("left"))
    with database.read() as connection:
        return [IngestState(**row._mapping) for row in connection.execute(query.where(*wanted))]


def is_abandoned(database: Database, job_id: int) -> bool:
    """Whether a job is half written, and the command that wrote it was killed."""
    return bool(find_ingests(database, Job.id == job_id, Job.status == JobStatus.INGESTING, lease_ran_out()))


def wait_for_expiry(database: Database, ingest: IngestState) -> bool:
    """Waits for a lease to run out. False as soon as it was renewed: its producer lives."""
    unchanged = (Job.id == ingest.id, Job.status == JobStatus.INGESTING, Job.producer == ingest.producer)
    while now_found := find_ingests(database, *unchanged):
        if now_found[0].until > ingest.until:
            return False
        if now_found[0].left < 0:
            return True
        time.sleep(min(now_found[0].left + 0.01, POLL_SECONDS))
    return True  # it is complete, or another took it away: nothing is left to wait for


class IngestLease:
    """Renewed by a thread of its own: reading the prompts may take longer than a lease."""

    def __init__(self, database: Database, job_id: int, producer: str, seconds: float) -> None:
        self._ended = threading.Event()
        # A lease that nobody holds on to any more is not renewed either.
        weakref.finalize(self, self._ended.set)
        threading.Thread(
            target=_renew, args=(database, job_id, producer, seconds, self._ended), name="ingest lease", daemon=True
        ).start()

    def end(self) -> None:
        self._ended.set()


def _renew(database: Database, job_id: int, producer: str, seconds: float, ended: threading.Event) -> None:
    """Until it is told to end, or the job is another's."""
    renewal = update_if_owned(job_id, producer).values(ingest_until=now() + seconds)
    while not ended.wait(seconds / RENEWALS):
        with suppress(DatabaseUnreachable), database.write() as connection:
            if connection.execute(renewal).rowcount != 1:
                return
