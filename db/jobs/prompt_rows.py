"""A job's rows on their way into SQL: cut into batches, and batches into what one transaction writes.

Rows are bounded by their bytes as well as by their number, so that neither a producer nor a worker that reads a batch
back needs more memory than for some megabytes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sys import getsizeof
from typing import Any

import orjson
from sqlalchemy import Connection

from contract.spec import Messages, PromptRow, PromptStatus
from db.session.dialect import is_sqlite

CHUNK_ROWS = 8192
CHUNK_BYTES = 16 * 2**20
"""What one transaction writes at most, but for its last batch: other writers wait for less than a second."""
BATCH_BYTES = 4 * 2**20
BATCH_OUTPUTS = 16_384
"""A batch ends with the row that reaches one of these, however few prompts it has."""

PROMPT_COLUMNS = (
    "job_id",
    "batch_id",
    "position",
    "n",
    "status",
    "custom_id",
    "prompt",
    "messages",
    "settings",
    "metadata",
)
StoredRow = tuple[int, int, str, str | None, str, str | None, str | None, str | None]
"""The columns from `position` on. What is nested is JSON text: as objects it would take up to 25 times the memory."""


class NewBatch:
    """The rows of one batch that is not written yet."""

    def __init__(self) -> None:
        self.rows: list[StoredRow] = []
        self.outputs = self.size = 0

    def add(self, row: PromptRow) -> None:
        nested = (_json(row.messages), _json(row.settings), _json(row.metadata))
        self.rows.append((row.position, row.n, PromptStatus.PENDING.value, row.custom_id, row.prompt, *nested))
        self.outputs += row.n
        self.size += getsizeof(row.prompt) + sum(map(getsizeof, nested))

    def is_full(self, batch_size: int) -> bool:
        return fills_batch(batch_size, len(self.rows), self.outputs, self.size)


def fills_batch(batch_size: int, prompts: int, outputs: int, size: int) -> bool:
    """Whether prompts of so many bytes fill a batch: it has `batch_size` of them, or as much as a batch may have."""
    return prompts >= batch_size or size >= BATCH_BYTES or outputs >= BATCH_OUTPUTS


def _json(value: dict[str, Any] | Messages | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def transaction_chunks(rows: Iterable[PromptRow], batch_size: int) -> Iterator[list[NewBatch]]:
    """Whole batches, as many together as one transaction may write."""
    chunk: list[NewBatch] = []
    count = size = 0
    for batch in _batches(rows, batch_size):
        chunk.append(batch)
        count += len(batch.rows)
        size += batch.size
        if count >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, count, size = [], 0, 0
    if chunk:
        yield chunk


def _batches(rows: Iterable[PromptRow], batch_size: int) -> Iterator[NewBatch]:
    batch = NewBatch()
    for row in rows:
        batch.add(row)
        if batch.is_full(batch_size):
            yield batch
            batch = NewBatch()
    if batch.rows:
        yield batch


def insert_prompts(connection: Connection, job_id: int, batches: Sequence[tuple[int, NewBatch]]) -> None:
    """Writes the rows of batches, each with its id."""
    columns = ", ".join(PROMPT_COLUMNS)
    values = ((job_id, batch_id, *row) for batch_id, batch in batches for row in batch.rows)
    if is_sqlite(connection):
        marks = ", ".join("?" * len(PROMPT_COLUMNS))
        connection.exec_driver_sql(f"INSERT INTO prompts ({columns}) VALUES ({marks})", list(values))  # noqa: S608
        return
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY prompts ({columns}) FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)
