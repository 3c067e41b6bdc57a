"""What a retry takes up: prompts of a job that is over into new batches, unscored texts back before the classifier.

What there is to take up is looked for in transactions that lock nothing, and only ever further on. Whoever takes some
of it locks its batches, and looks again: a worker, a reviewer, a cancel or another retry may have been faster. A
process that dies in between leaves whole batches, and the next retry goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from contract.errors import SettingsError, UsageError
from contract.failures import FailureCode
from contract.spec import BatchStatus, JobStatus, PromptStatus, Safety
from db.jobs.jobs import JobRow, stored_settings
from db.jobs.prompt_rows import fills_batch
from db.models import Batch, Job, Output, Prompt
from db.review_sync import sync_reviews
from db.session.engine import Database
from db.session.row_locks import lock_rows
from db.standing import HAS_EDIT
from db.work.batches import HELD, recount

CHUNK_TEXTS = 2000
LOOK_PROMPTS = 8192
"""About how many prompts one look finds at most."""
LOOK_BATCHES = 1000


def check_not_cancelled(connection: Connection, job: JobRow) -> None:
    """Until the transaction ends, nobody cancels the job.

    Raises:
        UsageError: where somebody did since `job` was read: that is not undone by who began before it.
    """
    query = select(Job.status, Job.finished_at).where(Job.id == job.id)
    row = connection.execute(query.with_for_update(key_share=True)).one()
    anew = row.status == JobStatus.CANCELLED and row.finished_at != job.finished_at
    if row.status == JobStatus.CANCELLING or anew:
        raise UsageError(f"job {job.id} was cancelled in the meantime; take it up again with: inkmill retry {job.id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued:
    """What prompts are taken up, and how."""

    code: FailureCode | None = None  # those alone that are dead of it; None = all that are dead or cancelled
    settings: Mapping[str, Any] = field(default_factory=dict)  # laid over those of dead prompts, as they are stored

    @property
    def wanted(self) -> ColumnElement[bool]:
        return given_up(self.code)

    @property
    def changed(self) -> ColumnElement[bool]:
        """Those whose settings change: what has a text keeps the settings that it was made with."""
        return and_(Prompt.status == PromptStatus.DEAD, self.wanted, ~HAS_TEXT)


HAS_TEXT = exists().where(Output.prompt_id == Prompt.id)


def given_up(code: FailureCode | None) -> ColumnElement[bool]:
    """Whether a prompt is dead of that; None = whether it is dead or cancelled."""
    if code is None:
        return Prompt.status.in_((PromptStatus.DEAD, PromptStatus.CANCELLED))
    return and_(Prompt.status == PromptStatus.DEAD, has_code(code))


def has_code(code: FailureCode) -> ColumnElement[bool]:
    """Whether a prompt is dead of that: without a code, or with one of a later version, it is unknown why."""
    if code == FailureCode.UNKNOWN:
        return or_(Prompt.code.is_(None), Prompt.code.not_in([known for known in FailureCode if known != code]))
    return Prompt.code == code


def requeue_prompts(database: Database, job: JobRow, how: Requeued = Requeued()) -> int:
    """Puts a job's dead and cancelled prompts into new batches.

    Raises:
        UsageError: where the job was cancelled meanwhile.
    """
    total = 0
    for rows in _batches(_look(database, job, how.wanted), job.batch_size):
        with database.write() as connection:
            total += _take_up(connection, job, rows, how)
    return total


def check_settings(database: Database, job: JobRow, how: Requeued) -> int:
    """Checks that the new settings go together with those of every prompt that they change.

    Returns: how many dead prompts keep their settings, since some of their texts are there.

    Raises:
        UsageError: they do not, for a prompt that is named.
    """
    here = Prompt.batch_id.in_(select(Batch.id).where(Batch.job_id == job.id, Batch.dead > 0))
    own = cast(Prompt.settings, Text)
    each = select(own, func.min(Prompt.position)).where(here, how.changed).group_by(own)
    kept = select(func.count()).where(here, Prompt.status == PromptStatus.DEAD, how.wanted, HAS_TEXT)
    with database.read() as connection:
        for stored, position in connection.execute(each, execution_options={"yield_per": LOOK_PROMPTS}):
            try:
                stored_settings(job.settings, {**(orjson.loads(stored) if stored else {}), **how.settings})
            except SettingsError as error:
                raise UsageError(f"prompt {position + 1} of job {job.id}: {error}") from None
        return connection.scalar(kept) or 0


def _look(database: Database, job: JobRow, wanted: ColumnElement[bool]) -> Iterator[Row[Any]]:
    """The prompts to take up, by way of the batches that have some: a large job's others are not read through.

    What died in a batch that a worker has in hand is left to it.
    """
    mine = and_(Batch.job_id == job.id, or_(Batch.dead > 0, Batch.cancelled > 0), ~HELD)
    messages, settings = (func.coalesce(func.length(cast(c, Text)), 0) for c in (Prompt.messages, Prompt.settings))
    size = func.length(Prompt.prompt) + messages + settings
    prompts = select(Prompt.id, Prompt.batch_id, Prompt.n, size.label("size")).order_by(Prompt.position)
    some = select(Batch.id).order_by(Batch.id).limit(min(max(LOOK_PROMPTS // job.batch_size, 1), LOOK_BATCHES))
    after = 0
    with database.read() as connection:  # what dies in the batches that are made here is not for this retry
        last = connection.scalar(select(func.max(Batch.id)).where(mine)) or 0
    while after < last:
        with database.read() as connection:
            batches = connection.scalars(some.where(mine, Batch.id > after, Batch.id <= last)).all()
            rows = connection.execute(prompts.where(Prompt.batch_id.in_(batches), wanted)).all()
        after = batches[-1] if batches else last
        yield from rows


def _batches(rows: Iterator[Row[Any]], batch_size: int) -> Iterator[list[Row[Any]]]:
    """As many rows together as one batch may have."""
    batch: list[Row[Any]] = []
    size = outputs = 0
    for row in rows:
        batch.append(row)
        size, outputs = size + row.size, outputs + row.n
        if fills_batch(batch_size, len(batch), outputs, size):
            yield batch
            batch, size, outputs = [], 0, 0
    if batch:
        yield batch


def _take_up(connection: Connection, job: JobRow, rows: Sequence[Row[Any]], how: Requeued) -> int:
    """Moves those of the rows that are still to be taken up into a new batch. Returns how many."""
    batches = {row.batch_id for row in rows}
    lock_rows(connection, Batch, Batch.id.in_(batches))
    check_not_cancelled(connection, job)
    # Their batches are locked: from here on nobody changes or moves a prompt of theirs.
    mine = and_(Prompt.id.in_([row.id for row in rows]), Prompt.batch_id.in_(batches), how.wanted)
    held = exists().where(Batch.id == Prompt.batch_id, HELD)
    still = connection.scalars(select(Prompt.id).where(mine, ~held)).all()
    if still:
        if how.settings:
            _change_settings(connection, still, how)
        _move_to_new_batch(connection, job.id, still, batches)
    return len(still)


def _change_settings(connection: Connection, prompts: Sequence[int], how: Requeued) -> None:
    query = select(Prompt.id, Prompt.settings).where(Prompt.id.in_(prompts), how.changed)
    changed = [
        {"changed": row.id, "own": {**(row.settings or {}), **how.settings}} for row in connection.execute(query)
    ]
    if changed:
        laying_over = update(Prompt).where(Prompt.id == bindparam("changed")).values(settings=bindparam("own"))
        connection.execute(laying_over, changed)


def _move_to_new_batch(connection: Connection, job_id: int, prompts: Sequence[int], batches: set[int]) -> None:
    values = {"job_id": job_id, "status": BatchStatus.PENDING.value}
    batch = connection.execute(insert(Batch).values(values).returning(Batch.id)).scalar_one()
    moved = {
        "batch_id": batch,
        "status": PromptStatus.PENDING.value,
        "faults": 0,
        "deaths": 0,
        "reason": None,
        "code": None,
    }
    connection.execute(update(Prompt).where(Prompt.id.in_(prompts)).values(moved))
    recount(connection, [batch, *batches])


def requeue_texts(database: Database, job: JobRow) -> int:
    """Puts a job's unscored texts back before the classifier. Returns how many; the job itself stays as it is.

    Where an edit stands in its place, nobody asks for the score of the text that was generated.

    Raises:
        UsageError: where the job was cancelled meanwhile.
    """
    some = (
        select(Output.id)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Batch, Batch.id == Prompt.batch_id)
        .where(Output.job_id == job.id, Output.safety == Safety.UNSCORED, ~HAS_EDIT, ~HELD)
        .order_by(Output.id)
        .limit(CHUNK_TEXTS)
    )
    total = after = 0
    while True:
        with database.read() as connection:
            outputs = connection.scalars(some.where(Output.id > after)).all()
        if not outputs:
            return total
        after = outputs[-1]
        with database.write() as connection:
            total += _put_back(connection, job, outputs)


def _put_back(connection: Connection, job: JobRow, outputs: Sequence[int]) -> int:
    """Puts those of the texts back that are still unscored. Returns how many.

    Each statement that looks at what another row says comes after that row's lock: PostgreSQL reads rows that a
    statement did not lock as they were when it began, before it waited for others.
    """
    these = Output.id.in_(outputs)
    lock_rows(connection, Output, these)
    here = select(Prompt.batch_id).join(Output, Output.prompt_id == Prompt.id).where(these).distinct()
    batches = set(connection.scalars(here))
    lock_rows(connection, Batch, Batch.id.in_(batches))
    check_not_cancelled(connection, job)
    query = (
        select(Output.id, Output.prompt_id, Prompt.batch_id)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Batch, Batch.id == Prompt.batch_id)
        .where(these, Output.safety == Safety.UNSCORED, ~HAS_EDIT, Batch.id.in_(batches), ~HELD)
    )
    rows = connection.execute(query).all()
    _wait_for_scores(connection, rows)
    return len(rows)


def _wait_for_scores(connection: Connection, rows: Sequence[Any]) -> None:
    batches, ids = {row.batch_id for row in rows}, [row.id for row in rows]
    waiting = {"safety": Safety.WAITING.value, "score_faults": 0, "flagged": False, "flag_reasons": None}
    connection.execute(update(Output).where(Output.id.in_(ids)).values(waiting))
    sync_reviews(connection, ids)
    # Done means settled, and these are not any more.
    unsettled = Prompt.id.in_({row.prompt_id for row in rows}) & (Prompt.status == PromptStatus.DONE)
    connection.execute(update(Prompt).where(unsettled).values(status=PromptStatus.PENDING.value))
    reopened = Batch.id.in_(batches) & (Batch.status == BatchStatus.DONE)
    connection.execute(update(Batch).where(reopened).values(status=BatchStatus.GENERATED.value))
    recount(connection, batches)
