"""Writing a large job's prompts: in chunks, so that no other writer waits, and claimable only when all are there."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import Connection, Update, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from contract.errors import DatabaseUnreachable, DuplicateJob, InkmillError, UsageError
from contract.processes import Process
from contract.spec import BatchStatus, JobSpec, JobStatus, PromptRow, PromptStatus
from db.batches import finish_job_if_over
from db.models import Batch, Job, Prompt
from db.session import Database, now
from db.workers import is_recent

CHUNK_ROWS = 8192
CHUNK_CHARACTERS = 16 * 2**20
"""What one transaction writes at most, but for its last batch: other writers wait for less than a second."""
DISCARD_BATCHES = 32
MOST_IN_A_BATCH = 10_000
"""A batch's prompts are named in one statement, and PostgreSQL's protocol ends at 65,535 parameters."""
PRODUCER_SILENT_SECONDS = 60.0
"""A producer on another host that has written nothing for this long is taken for dead."""

PROMPT_COLUMNS = (
    "job_id",
    "batch_id",
    "position",
    "n",
    "status",
    "custom_id",
    "prompt",
    "settings",
    "metadata",
)


class Ingest:
    """One job on its way into SQL. Nobody can claim any of it before `finish`."""

    def __init__(self, database: Database, spec: JobSpec, *, again: bool = False) -> None:
        """Raises:
        DuplicateJob: where the same fingerprint is a job already, and `again` is not said.
        UsageError: where a live producer is writing the same job right now, or the batch size cannot be used.
        """
        if not 1 <= spec.batch_size <= MOST_IN_A_BATCH:
            raise UsageError(f"batch_size: must be from 1 to {MOST_IN_A_BATCH:,}, not {spec.batch_size:,}")
        self._database, self._batch_size, self._producer = database, spec.batch_size, new_producer()
        _discard_dead(database, spec.fingerprint, self._producer)
        self.job_id = _begin(database, spec, self._producer, once=not again)
        self.prompts = self.outputs = 0

    def write(self, rows: Iterable[PromptRow]) -> None:
        """Writes `rows` in transactions of some thousands.

        Raises:
            InkmillError: where another producer took this one for dead and replaced its job.
        """
        for chunk in _chunks(rows, self._batch_size):
            with self._database.write() as connection:
                self._write_chunk(connection, chunk)
            self.prompts += sum(map(len, chunk))
            self.outputs += sum(row.n for part in chunk for row in part)

    def _write_chunk(self, connection: Connection, parts: Sequence[Sequence[PromptRow]]) -> None:
        self._keep(connection, producer_seen=now())
        batches = [
            {
                "job_id": self.job_id,
                "status": BatchStatus.PENDING.value,
                "prompts": len(part),
                "outputs": sum(row.n for row in part),
            }
            for part in parts
        ]
        inserting = insert(Batch).returning(Batch.id, sort_by_parameter_order=True)
        ids = connection.scalars(inserting, batches).all()
        _insert_prompts(connection, _prompt_values(self.job_id, zip(ids, parts, strict=True)))

    def finish(self) -> int:
        """Makes the job claimable, in one short transaction; one without prompts is complete at once.

        Returns:
            The job's id.

        Raises:
            InkmillError: where another producer took this one for dead and replaced its job.
        """
        with self._database.write() as connection:
            self._keep(connection, status=JobStatus.QUEUED.value, producer=None, producer_seen=None)
            finish_job_if_over(connection, self.job_id)
        if self.prompts >= CHUNK_ROWS:
            _know_the_rows(self._database)
        return self.job_id

    def abandon(self) -> None:
        """Takes back everything written so far."""
        discard(self._database, self.job_id, self._producer)

    def _keep(self, connection: Connection, **values: Any) -> None:
        """Changes the job while it is this producer's. SQLite gives a removed job's id to the next one."""
        if connection.execute(_owned(self.job_id, self._producer).values(values)).rowcount != 1:
            raise InkmillError(
                f"job {self.job_id} was replaced while it was being submitted: "
                "the same file was submitted again after a long silence; follow that job, or submit with --again"
            )


def _know_the_rows(database: Database) -> None:
    """PostgreSQL counts new rows some time within the next minute; until then it would read a whole table per batch."""
    if not database.sqlite:
        with suppress(DatabaseUnreachable), database.write() as connection:
            # A vacuum that does not make way may take hours; its end is not worth waiting for.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql("ANALYZE prompts, batches")


def _chunks(rows: Iterable[PromptRow], batch_size: int) -> Iterator[list[list[PromptRow]]]:
    """Whole batches of rows, as many together as one transaction may write."""
    rows = iter(rows)
    chunk: list[list[PromptRow]] = []
    count = characters = 0
    while part := list(islice(rows, batch_size)):
        chunk.append(part)
        count += len(part)
        characters += sum(map(_characters, part))
        if count >= CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, count, characters = [], 0, 0
    if chunk:
        yield chunk


def _characters(row: PromptRow) -> int:
    """About what a row holds; metadata may be as large as a line of the prompt file."""
    return len(row.prompt) + (0 if row.metadata is None else len(orjson.dumps(row.metadata)))


def _owned(job_id: int, producer: str | None) -> Update:
    """An update of an ingesting job that changes nothing where another producer has it now."""
    return update(Job).where(Job.id == job_id, Job.status == JobStatus.INGESTING, Job.producer == producer)


def _begin(database: Database, spec: JobSpec, producer: str, *, once: bool) -> int:
    while True:
        try:
            with database.write() as connection:
                return _insert_job(connection, spec, producer, spec.fingerprint if once else None)
        except IntegrityError:
            if not once:
                raise
            _make_way(database, spec.fingerprint, producer)


def _insert_job(connection: Connection, spec: JobSpec, producer: str, once: str | None) -> int:
    values = {
        "name": spec.name,
        "status": JobStatus.INGESTING.value,
        "fingerprint": spec.fingerprint,
        "once": once,
        "model": spec.model,
        "safety": spec.safety,
        "seed": spec.seed,
        "settings": spec.settings.to_dict(),
        "thresholds": spec.thresholds,
        "blocklist": list(spec.blocklist),
        "on_flag": spec.on_flag,
        "batch_size": spec.batch_size,
        "device": spec.device,
        "dtype": spec.dtype,
        "producer": producer,
        "producer_seen": now(),
        "created_at": now(),
    }
    return connection.execute(insert(Job).values(values).returning(Job.id)).scalar_one()


def _make_way(database: Database, fingerprint: str, producer: str) -> None:
    """The same job stands in the way: take it away where a dead producer left it half written, else say so."""
    with database.read() as connection:
        found = connection.execute(_SEEN.where(Job.once == fingerprint)).first()
    if found is None:
        return
    if found.status != JobStatus.INGESTING:
        raise DuplicateJob(found.id)
    if _producer_lives(found.producer, found.silent):
        host, pid, *_ = found.producer.rsplit(":", 3)
        raise UsageError(
            f"this file is being submitted right now, as job {found.id}, by process {pid} on {host}; "
            "wait for it, or end that process and submit again"
        )
    take_away(database, found.id, found.producer, producer)


_SEEN = select(Job.id, Job.status, Job.producer, (now() - Job.producer_seen).label("silent"))


def _discard_dead(database: Database, fingerprint: str, producer: str) -> None:
    """Takes away what dead producers of the same file left half written, those with --again too."""
    with database.read() as connection:
        left = connection.execute(_SEEN.where(Job.fingerprint == fingerprint, Job.status == JobStatus.INGESTING)).all()
    for row in left:
        if not _producer_lives(row.producer, row.silent):
            take_away(database, row.id, row.producer, producer)


def discard_if_dead(database: Database, job_id: int) -> bool:
    """Removes an ingesting job whose producer is dead. Returns whether it did."""
    with database.read() as connection:
        found = connection.execute(_SEEN.where(Job.id == job_id, Job.status == JobStatus.INGESTING)).first()
    if found is None or _producer_lives(found.producer, found.silent):
        return False
    take_away(database, job_id, found.producer, new_producer())
    return True


def new_producer() -> str:
    """This process and submission, so that another process can tell whether it lives: host:pid:start:token."""
    token = secrets.token_hex(8)
    me = Process.me()
    return f"{socket.gethostname()}:{me.pid}:{me.born}:{token}"


def _producer_lives(producer: str | None, silent: float | None) -> bool:
    host, pid, born, _ = (producer or ":::").rsplit(":", 3)
    if host != socket.gethostname():
        return silent is not None and is_recent(silent, PRODUCER_SILENT_SECONDS)
    return pid.isdecimal() and Process(pid=int(pid), born=born).lives()


def take_away(database: Database, job_id: int, dead: str | None, producer: str) -> None:
    """Removes a dead producer's job; where several come to do that, the first one does."""
    with database.write() as connection:
        taken = connection.execute(_owned(job_id, dead).values(producer=producer, producer_seen=now())).rowcount
    if taken:
        discard(database, job_id, producer)


def discard(database: Database, job_id: int, producer: str) -> None:
    """Removes the producer's ingesting job, a chunk at a time. A job that is complete in SQL is never touched."""
    while True:
        with database.write() as connection:
            if not connection.execute(_owned(job_id, producer).values(producer_seen=now())).rowcount:
                return
            some = select(Batch.id).where(Batch.job_id == job_id).order_by(Batch.id).limit(DISCARD_BATCHES)
            ids = connection.scalars(some).all()
            if not ids:
                connection.execute(delete(Job).where(Job.id == job_id))
                return
            connection.execute(delete(Prompt).where(Prompt.batch_id.in_(ids)))
            connection.execute(delete(Batch).where(Batch.id.in_(ids)))


PromptValues = tuple[int, int, int, int, str, str | None, str, str | None, str | None]


def _prompt_values(job_id: int, batches: Iterable[tuple[int, Sequence[PromptRow]]]) -> Iterator[PromptValues]:
    pending = PromptStatus.PENDING.value
    for batch_id, part in batches:
        for row in part:
            settings = None if row.settings is None else orjson.dumps(row.settings).decode()
            metadata = None if row.metadata is None else orjson.dumps(row.metadata).decode()
            yield (
                job_id,
                batch_id,
                row.position,
                row.n,
                pending,
                row.custom_id,
                row.prompt,
                settings,
                metadata,
            )


def _insert_prompts(connection: Connection, values: Iterator[PromptValues]) -> None:
    columns = ", ".join(PROMPT_COLUMNS)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(PROMPT_COLUMNS))
        connection.exec_driver_sql(f"INSERT INTO prompts ({columns}) VALUES ({marks})", list(values))  # noqa: S608
        return
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY prompts ({columns}) FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)
