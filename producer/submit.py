"""Submitting: a prompt file becomes a job in SQL and, after the commit, hints in the queue."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from contract.errors import NoSuchModel, QueueUnreachable
from contract.model_kinds.model_folders import check_classifier
from contract.names import check_model, model_name, with_revision
from contract.policy import ScoreBy
from contract.settings import settings
from contract.spec import SEED_LIMIT, BatchStatus, JobSpec, PromptRow, SamplingSettings
from db.jobs.ingest import Ingest
from db.jobs.ingest_lease import LEASE_SECONDS
from db.session.engine import Database
from db.tuning.models import find_model
from db.work.claims import waiting_in_job
from producer.bad_lines import BadLines
from producer.chat import ChatRows
from producer.long_prompts import LongPrompts, local_window
from producer.read.prompt_file import EmptyInput, PromptFile
from producer.read.read_options import ReadOptions
from producer.write.target import Target

OnProgress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """What a user asks for when submitting a prompt file."""

    model: str | None  # None = the one in the file, else the default
    default_model: str
    revision: str | None = None  # of the Hub's model, whoever names it; None = the one in its name, else the main one
    safety: str
    flags: dict[str, Any] = field(default_factory=dict)  # sampling settings for the whole job
    reading: ReadOptions = field(default_factory=ReadOptions)  # how the prompt file is read
    score_by: ScoreBy = ScoreBy.WINDOW
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
    # Not part of the fingerprint:
    owner: str | None = None  # the installation whose stack may fail the job
    name: str | None = None  # under which the job is listed; None = the file's


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """A job that is complete in SQL."""

    job_id: int
    model: str
    seed: int
    prompts: int
    outputs: int
    bad_lines: int
    bad_path: Path | None  # where bad lines were written
    remarks: tuple[str, ...] = ()  # what the user should know of its prompts' lengths and of messages
    too_long: int | None = None  # prompts that will be given up as too long; None = not known here
    queue_error: str | None = None  # why no hints were sent; the next sweep of a worker sends them


def job_model(options: SubmitOptions, file: PromptFile) -> str:
    """The job's model: the one in the options, else the one in the file, else the default; in the revision asked for.

    Raises:
        UsageError: there can be no such model, or no such revision of it.
    """
    named = options.model or (model_name(file.model) if file.model else options.default_model)
    return with_revision(named, options.revision)


def fingerprint(options: SubmitOptions, file: PromptFile) -> str:
    """Identifies a submission: a hash of the file's bytes and everything that affects its outputs."""
    settings = file.base_settings(options.flags).to_dict()
    for name in ("bad_words_match", "on_too_long"):
        if settings[name] == getattr(SamplingSettings(), name):
            del settings[name]  # of a job from before there was this setting nothing else was said
    factors = [
        file.format, job_model(options, file), options.safety, settings, sorted(options.thresholds.items()),
        options.blocklist, options.on_flag, options.seed, options.device, options.dtype, options.skip_bad,
        *file.options.fingerprint_factors(), *_said_of_scoring(options),
    ]  # fmt: skip
    return hashlib.sha256(file.digest().encode() + orjson.dumps(factors, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _said_of_scoring(options: SubmitOptions) -> list[Any]:
    """Nothing for the default: of a job from before there was a choice nothing else was said."""
    return [] if options.score_by is ScoreBy.WINDOW else [["score_by", options.score_by]]


def submit(
    database: Database, file: PromptFile, options: SubmitOptions, progress: OnProgress = lambda rows: None
) -> SubmittedJob:
    """Writes the job to SQL, makes it claimable, and sends hints to the queue.

    Args:
        progress: called now and then with the number of rows read so far.

    Raises:
        BadInput: the file has bad lines, and `skip_bad` is off or no line is good; nothing was submitted.
        DuplicateJob: the same file with the same options is already a job, and `again` is off.
        UsageError: the file or the options cannot be used, or the file changed meanwhile; nothing was submitted.
    """
    spec = _spec(options, file)
    check_model(spec.model)
    check_classifier(spec.safety)
    if options.model:
        file.accept_any_model()
    bad = _bad_lines(database, file, options)
    long, chat = LongPrompts(local_window(spec.model), spec.settings), ChatRows()
    ingest = Ingest(database, spec, again=options.again, lease=min(LEASE_SECONDS, settings().lease_seconds))
    try:
        with bad:
            _write(ingest, _good_rows(file, options, bad, long, chat, progress), options)
            long.count()
            file.check_contents()
        if bad.total and (not options.skip_bad or not ingest.prompts):
            raise bad.error()
    except BaseException:
        ingest.abandon()
        raise
    ingest.finish()
    file.remarks += file.scripts.remarks(options.safety)
    return SubmittedJob(
        job_id=ingest.job_id,
        model=spec.model,
        seed=spec.seed,
        prompts=ingest.prompts,
        outputs=ingest.outputs,
        bad_lines=bad.total,
        bad_path=file.bad_path if bad.total else None,
        remarks=(*long.remarks(), *chat.remarks(spec.model), *_own_elsewhere(database, spec.model)),
        too_long=long.refused,
        queue_error=queue_hints(database, ingest.job_id, spec.model),
    )


def _own_elsewhere(database: Database, model: str) -> Iterator[str]:
    """What to know of a Hub id that is also the name of an own model, which this machine's store does not have."""
    with suppress(NoSuchModel):
        own = find_model(database, model)
        yield (
            f"--model {model} is the Hub's model, as INKMILL_MODELS, {settings().models_folder} here, has none of that "
            f"name; for your own {model}, which workers elsewhere may have, give --model {own}"
        )


def queue_hints(database: Database, job_id: int, model: str) -> str | None:
    """Queues hints for a job's waiting batches. Returns the reason if that failed, else None."""
    configured = settings()
    if configured.embedded and not configured.redis_socket.exists():  # checked first, since Celery is slow to import
        return "the local Redis is not running"
    from contract.queue import generate_queue, top_up

    try:
        top_up(generate_queue(model), waiting_in_job(database, job_id, BatchStatus.PENDING))
    except QueueUnreachable as error:
        return str(error)
    return None


def _spec(options: SubmitOptions, file: PromptFile) -> JobSpec:
    return JobSpec(
        name=options.name or file.name,
        fingerprint=fingerprint(options, file),
        model=job_model(options, file),
        safety=options.safety,
        score_by=options.score_by,
        seed=secrets.randbelow(SEED_LIMIT) if options.seed is None else options.seed,
        settings=file.base_settings(options.flags),
        thresholds=options.thresholds,
        blocklist=options.blocklist,
        on_flag=options.on_flag,
        device=options.device,
        dtype=options.dtype,
        batch_size=options.batch_size,
        owner=options.owner,
    )


def _bad_lines(database: Database, file: PromptFile, options: SubmitOptions) -> BadLines:
    if not options.skip_bad:
        return BadLines(file.name)
    target = Target(
        database, file.bad_path, None,
        "--skip-bad writes bad lines there: move it away, or submit its lines and then remove it",
    )  # fmt: skip
    return BadLines(file.name, target, file.bad_header)


def _write(ingest: Ingest, rows: Iterator[PromptRow], options: SubmitOptions) -> None:
    try:
        ingest.write(rows)
    except EmptyInput:
        if not options.allow_empty:
            raise


def _good_rows(
    file: PromptFile,
    options: SubmitOptions,
    bad: BadLines,
    long: LongPrompts,
    chat: ChatRows,
    progress: Callable[[int], object],
) -> Iterator[PromptRow]:
    for row in file.rows(options.flags, bad):
        # After a bad line nothing more is written; the rest is read only to report its bad lines.
        if bad.total and not options.skip_bad:
            continue
        if not row.position % 4096:
            progress(row.position)
            file.check_stat()  # or a file that grows as fast as it is read would never end
        long.look(row, file.line)
        chat.look(row)
        yield row
