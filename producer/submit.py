"""Submitting: a prompt file becomes a job in SQL first, and hints in the queue after the commit."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from contract.errors import QueueUnreachable, UsageError
from contract.names import model_name
from contract.settings import settings
from contract.spec import SEED_LIMIT, BatchStatus, JobSpec, PromptRow
from db.jobs.ingest import Ingest
from db.jobs.ingest_lease import LEASE_SECONDS
from db.session.engine import Database
from db.work.claims import waiting_in_job
from producer.bad_lines import BadLines
from producer.read.readers import EmptyInput, PromptFile
from producer.write.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a user asks for with a prompt file."""

    model: str | None  # None = the one in the file, else the default
    default_model: str
    safety: str
    flags: dict[str, Any] = field(default_factory=dict)  # sampling settings for the whole job
    thresholds: dict[str, float] = field(default_factory=dict)
    blocklist: tuple[str, ...] = ()
    on_flag: str = "keep"
    seed: int | None = None  # None = drawn at random
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 256
    again: bool = False
    skip_bad: bool = False
    allow_empty: bool = False
    owner: str | None = None  # the installation whose stack may fail the job; not part of the fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that is complete in SQL."""

    job_id: int
    model: str
    seed: int
    prompts: int
    outputs: int
    bad_lines: int
    bad_path: Path | None  # where skipped lines were written
    queue_error: str | None = None  # why no message was sent; the next sweep or worker makes up for it


def order_model(order: Order, file: PromptFile) -> str:
    """The job's model: what the file and the order agree on.

    Raises:
        UsageError: they do not.
    """
    if file.model and order.model and model_name(file.model) != order.model:
        raise UsageError(
            f"--model {order.model}: but {file.name} has model {file.model!r} in its lines; "
            "leave out --model, or change the file"
        )
    return order.model or (model_name(file.model) if file.model else order.default_model)


def fingerprint(order: Order, file: PromptFile) -> str:
    """Identifies a submission: a hash of the file's bytes and everything that affects its outputs."""
    settings = file.base_settings(order.flags).to_dict()
    said = [file.form, order_model(order, file), order.safety, settings, sorted(order.thresholds.items()),
            order.blocklist, order.on_flag, order.seed, order.device, order.dtype, order.skip_bad]  # fmt: skip
    return hashlib.sha256(file.digest().encode() + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def submit(database: Database, file: PromptFile, order: Order) -> Submitted:
    """Writes the job, makes it claimable, and tells the queue.

    Raises:
        BadInput: the file has bad lines, and skipping them was not asked for; nothing was submitted.
        DuplicateJob: these bytes with these settings are already a job.
        UsageError: the file or the order cannot be used, or the file changed while it was read; nothing was submitted.
    """
    spec = _spec(order, file)
    bad = _bad_lines(database, file, order)
    ingest = Ingest(database, spec, again=order.again, lease=min(LEASE_SECONDS, settings().lease_seconds))
    try:
        with bad:
            _write(ingest, file, order, bad)
            file.check_unchanged()
        if bad.total and (not order.skip_bad or not ingest.prompts):
            raise bad.error()
    except BaseException:
        ingest.abandon()
        raise
    ingest.finish()
    return Submitted(
        job_id=ingest.job_id,
        model=spec.model,
        seed=spec.seed,
        prompts=ingest.prompts,
        outputs=ingest.outputs,
        bad_lines=bad.total,
        bad_path=file.bad_path if bad.total else None,
        queue_error=announce(database, ingest.job_id, spec.model),
    )


def announce(database: Database, job_id: int, model: str) -> str | None:
    """Queues hints for a job's waiting batches. Returns the reason if that failed."""
    where = settings()
    if where.embedded and not where.redis_socket.exists():  # Celery is slow to import
        return "the local Redis is not running"
    from contract.queue import generate_queue, top_up

    try:
        top_up(generate_queue(model), waiting_in_job(database, job_id, BatchStatus.PENDING))
    except QueueUnreachable as error:
        return str(error)
    return None


def _spec(order: Order, file: PromptFile) -> JobSpec:
    return JobSpec(
        name=file.name,
        fingerprint=fingerprint(order, file),
        model=order_model(order, file),
        safety=order.safety,
        seed=secrets.randbelow(SEED_LIMIT) if order.seed is None else order.seed,
        settings=file.base_settings(order.flags),
        thresholds=order.thresholds,
        blocklist=order.blocklist,
        on_flag=order.on_flag,
        device=order.device,
        dtype=order.dtype,
        batch_size=order.batch_size,
        owner=order.owner,
    )


def _bad_lines(database: Database, file: PromptFile, order: Order) -> BadLines:
    if not order.skip_bad:
        return BadLines(file.name)
    target = Target(
        database, file.bad_path, None,
        "--skip-bad writes bad lines there: move it away, or submit its lines and then remove it",
    )  # fmt: skip
    return BadLines(file.name, target, file.bad_header)


def _write(ingest: Ingest, file: PromptFile, order: Order, bad: BadLines) -> None:
    try:
        ingest.write(_good_rows(file, order, bad))
    except EmptyInput:
        if not order.allow_empty:
            raise


def _good_rows(file: PromptFile, order: Order, bad: BadLines) -> Iterator[PromptRow]:
    for row in file.rows(order.flags, bad):
        # After a bad line nothing more is written: the rest is only read for the report.
        if bad.total and not order.skip_bad:
            continue
        if not row.position % 4096:
            file.check_untouched()  # a file that grows as fast as it is read would never end
        yield row
