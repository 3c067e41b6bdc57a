"""Writing a large job's prompts: in chunks, so that no other writer waits, and claimable only when all are there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import orjson
import psutil
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from contract.errors import DuplicateJob, UsageError
from contract.spec import BatchStatus, JobSpec, JobStatus, PromptRow, PromptStatus
from db.models import Batch, Job, Prompt
from db.session import Database, now

CHUNK_BATCHES = 32
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
        UsageError: where a live producer is writing the same job right now.
        """
        self._database, self._batch_size = database, spec.batch_size
        self.job_id = _begin(database, spec, None if again else spec.fingerprint)
        self.prompts = self.outputs = 0

    def write(self, rows: Iterable[PromptRow]) -> None:
        """Writes `rows` in transactions of some thousands."""
        rows = iter(rows)
        while chunk := list(islice(rows, self._batch_size * CHUNK_BATCHES)):
            with self._database.write() as connection:
                self._write_chunk(connection, chunk)
            self.prompts += len(chunk)
            self.outputs += sum(row.n for row in chunk)

    def _write_chunk(self, connection: Connection, chunk: Sequence[PromptRow]) -> None:
        parts = [chunk[i : i + self._batch_size] for i in range(0, len(chunk), self._batch_size)]
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
        connection.execute(update(Job).where(Job.id == self.job_id).values(producer_seen=now()))

    def finish(self) -> int:
        """Makes the job claimable, in one short transaction. Returns its id."""
        with self._database.write() as connection:
            connection.execute(
                update(Job)
                .where(Job.id == self.job_id, Job.status == JobStatus.INGESTING)
                .values(status=JobStatus.QUEUED.value, producer=None, producer_seen=None)
            )
        return self.job_id

    def abandon(self) -> None:
        """Takes back everything written so far."""
        discard(self._database, self.job_id)


def _begin(database: Database, spec: JobSpec, once: str | None) -> int:
    while True:
        try:
            with database.write() as connection:
                return _insert_job(connection, spec, once)
        except IntegrityError:
            _make_way(database, spec.fingerprint)


def _insert_job(connection: Connection, spec: JobSpec, once: str | None) -> int:
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
        "producer": this_producer(),
        "producer_seen": now(),
        "created_at": now(),
    }
    return connection.execute(insert(Job).values(values).returning(Job.id)).scalar_one()


def _make_way(database: Database, fingerprint: str) -> None:
    """The same job stands in the way: take it away where a dead producer left it half written, else say so."""
    with database.read() as connection:
        found = connection.execute(
            select(Job.id, Job.status, Job.producer, (now() - Job.producer_seen).label("silent")).where(
                Job.once == fingerprint
            )
        ).first()
    if found is None:
        return
    if found.status != JobStatus.INGESTING:
        raise DuplicateJob(found.id)
    if _producer_lives(found.producer, found.silent):
        raise UsageError(
            f"this file is being submitted right now, as job {found.id}, by process {found.producer}; "
            "wait for it, or end that process and submit again"
        )
    discard(database, found.id)


def this_producer() -> str:
    """This process, so that another one can tell whether it still lives: host:pid:start."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def _producer_lives(producer: str | None, silent: float | None) -> bool:
    host, pid, started = (producer or "::").rsplit(":", 2)
    if host != socket.gethostname():
        return silent is not None and silent < PRODUCER_SILENT_SECONDS
    try:
        born: float = psutil.Process(int(pid)).create_time()
        return abs(born - float(started)) < 1
    except (psutil.Error, ValueError):
        return False


def discard(database: Database, job_id: int) -> None:
    """Removes an ingesting job, a chunk at a time. A job that is complete in SQL is never touched."""
    while True:
        with database.write() as connection:
            if connection.scalar(select(Job.status).where(Job.id == job_id)) != JobStatus.INGESTING:
                return
            some = select(Batch.id).where(Batch.job_id == job_id).order_by(Batch.id).limit(CHUNK_BATCHES)
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
