"""Writing a large job's prompts: in chunks, so that no other writer waits, and claimable only when all are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from contract.blocklist import blocklist_digest
from contract.errors import DatabaseUnreachable, DuplicateJob, InkmillError, UsageError
from contract.spec import BatchStatus, JobSpec, JobStatus, PromptRow
from db.jobs.ingest_lease import (
    LEASE_SECONDS,
    IngestLease,
    IngestState,
    find_ingests,
    lease_ran_out,
    new_producer,
    producer_in_words,
    update_if_owned,
    wait_for_expiry,
)
from db.jobs.prompt_rows import CHUNK_ROWS, NewBatch, insert_prompts, transaction_chunks
from db.models import Batch, Job, Prompt
from db.session.engine import Database, now
from db.work.batches import finish_job_if_over

DISCARD_BATCHES = 32
MAX_BATCH_PROMPTS = 10_000
"""A batch's prompts are named in one statement, and PostgreSQL's protocol ends at 65,535 parameters."""


class Ingest:
    """One job on its way into SQL. Nobody can claim any of it before `finish`."""

    def __init__(self, database: Database, spec: JobSpec, *, again: bool = False, lease: float = LEASE_SECONDS) -> None:
        """Waits for as long as a lease where a dead producer left the same job half written.

        Args:
            lease: seconds without a sign of life after which others may take this producer for dead.

        Raises:
            DuplicateJob: where the same fingerprint is a job already, and `again` is not said.
            UsageError: where a live producer is writing the same job right now, or the batch size cannot be used.
        """
        if not 1 <= spec.batch_size <= MAX_BATCH_PROMPTS:
            raise UsageError(f"batch_size: must be from 1 to {MAX_BATCH_PROMPTS:,}, not {spec.batch_size:,}")
        self._database, self._batch_size, self._producer = database, spec.batch_size, new_producer()
        self._seconds = lease
        _discard_dead(database, spec.fingerprint, self._producer)
        self.job_id = _begin(database, spec, self._producer, lease, once=not again)
        self._lease = IngestLease(database, self.job_id, self._producer, lease)
        self.prompts = self.outputs = 0

    def write(self, rows: Iterable[PromptRow]) -> None:
        """Writes `rows` in transactions of some thousands.

        Raises:
            InkmillError: where another producer took this one for dead and replaced its job.
        """
        for chunk in transaction_chunks(rows, self._batch_size):
            with self._database.write() as connection:
                self._write_chunk(connection, chunk)
            self.prompts += sum(len(batch.rows) for batch in chunk)
            self.outputs += sum(batch.outputs for batch in chunk)

    def _write_chunk(self, connection: Connection, chunk: Sequence[NewBatch]) -> None:
        self._update_own_job(connection, ingest_until=now() + self._seconds)
        batches = [
            {
                "job_id": self.job_id,
                "status": BatchStatus.PENDING.value,
                "prompts": len(batch.rows),
                "outputs": batch.outputs,
            }
            for batch in chunk
        ]
        inserting = insert(Batch).returning(Batch.id, sort_by_parameter_order=True)
        ids = connection.scalars(inserting, batches).all()
        insert_prompts(connection, self.job_id, list(zip(ids, chunk, strict=True)))

    def finish(self) -> int:
        """Makes the job claimable, in one short transaction; one without prompts is complete at once.

        Returns:
            The job's id.

        Raises:
            InkmillError: where another producer took this one for dead and replaced its job.
        """
        with self._database.write() as connection:
            self._update_own_job(connection, status=JobStatus.QUEUED.value, producer=None, ingest_until=None)
            finish_job_if_over(connection, self.job_id)
        self._lease.end()
        if self.prompts >= CHUNK_ROWS:
            _analyze_tables(self._database)
        return self.job_id

    def abandon(self) -> None:
        """Takes back everything written so far."""
        self._lease.end()
        discard(self._database, self.job_id, self._producer)

    def _update_own_job(self, connection: Connection, **values: Any) -> None:
        """Changes the job while it is this producer's. SQLite gives a removed job's id to the next one."""
        if connection.execute(update_if_owned(self.job_id, self._producer).values(values)).rowcount != 1:
            raise InkmillError(
                f"job {self.job_id} was replaced while it was being submitted: "
                "the same file was submitted again after a long silence; follow that job, or submit with --again"
            )


def _analyze_tables(database: Database) -> None:
    """PostgreSQL counts new rows some time within the next minute; until then it would read a whole table per batch."""
    if not database.sqlite:
        with suppress(DatabaseUnreachable), database.write() as connection:
            # A vacuum that does not make way may take hours; its end is not worth waiting for.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql("ANALYZE prompts, batches")


def _begin(database: Database, spec: JobSpec, producer: str, lease: float, *, once: bool) -> int:
    while True:
        try:
            with database.write() as connection:
                return _insert_job(connection, spec, producer, lease, spec.fingerprint if once else None)
        except IntegrityError:
            if not once:
                raise
            _clear_duplicate(database, spec.fingerprint, producer)


def _insert_job(connection: Connection, spec: JobSpec, producer: str, lease: float, once: str | None) -> int:
    values = {
        "name": spec.name,
        "status": JobStatus.INGESTING.value,
        "fingerprint": spec.fingerprint,
        "once": once,
        "model": spec.model,
        "safety": spec.safety,
        "score_by": spec.score_by.value,
        "seed": spec.seed,
        "settings": spec.settings.to_dict(),
        "thresholds": spec.thresholds,
        "blocklist": list(spec.blocklist),
        "blocklist_digest": blocklist_digest(spec.blocklist),
        "on_flag": spec.on_flag,
        "batch_size": spec.batch_size,
        "device": spec.device,
        "dtype": spec.dtype,
        "producer": producer,
        "ingest_until": now() + lease,
        "owner": spec.owner,
        "created_at": now(),
    }
    return connection.execute(insert(Job).values(values).returning(Job.id)).scalar_one()


def _clear_duplicate(database: Database, fingerprint: str, producer: str) -> None:
    """The same job stands in the way: take it away where a dead producer left it half written, else say so."""
    duplicate = next(iter(find_ingests(database, Job.once == fingerprint)), None)
    if duplicate is None:
        return
    if duplicate.status != JobStatus.INGESTING:
        raise DuplicateJob(duplicate.id)
    if not wait_for_expiry(database, duplicate):
        producer_name = producer_in_words(duplicate.producer)
        raise UsageError(
            f"this file is being submitted right now, as job {duplicate.id}, by {producer_name}; "
            "wait for it, or stop that process and submit again"
        )
    _remove_dead(database, duplicate, producer)


def _discard_dead(database: Database, fingerprint: str, producer: str) -> None:
    """Takes away what dead producers of the same file left half written, those with --again too."""
    for left in find_ingests(
        database, Job.fingerprint == fingerprint, Job.status == JobStatus.INGESTING, lease_ran_out()
    ):
        _remove_dead(database, left, producer)


def discard_if_dead(database: Database, job_id: int) -> bool:
    """Removes an ingesting job whose producer is dead, once its lease has run out. Returns whether it did."""
    ingest = next(iter(find_ingests(database, Job.id == job_id, Job.status == JobStatus.INGESTING)), None)
    return ingest is not None and wait_for_expiry(database, ingest) and _remove_dead(database, ingest, new_producer())


def _remove_dead(database: Database, dead: IngestState, producer: str) -> bool:
    """Removes a dead producer's job; where several come to do that, the first one does. Returns whether it did."""
    # It may have been renewed since somebody looked: a chunk that is committed just now does that.
    taking = update_if_owned(dead.id, dead.producer).where(lease_ran_out())
    with database.write() as connection:
        removed = connection.execute(taking.values(producer=producer, ingest_until=now() + LEASE_SECONDS)).rowcount
    if removed:
        discard(database, dead.id, producer)
    return bool(removed)


def discard(database: Database, job_id: int, producer: str) -> None:
    """Removes the producer's ingesting job, a chunk at a time. A job that is complete in SQL is never touched."""
    while True:
        with database.write() as connection:
            renewal = update_if_owned(job_id, producer).values(ingest_until=now() + LEASE_SECONDS)
            if not connection.execute(renewal).rowcount:
                return
            some = select(Batch.id).where(Batch.job_id == job_id).order_by(Batch.id).limit(DISCARD_BATCHES)
            ids = connection.scalars(some).all()
            if not ids:
                connection.execute(delete(Job).where(Job.id == job_id))
                return
            connection.execute(delete(Prompt).where(Prompt.batch_id.in_(ids)))
            connection.execute(delete(Batch).where(Batch.id.in_(ids)))
