"""Workers as `inkmill workers` lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from common.times import duration, iso
from common.wording import on_one_line
from db.work.workers import ALIVE, WorkerRow
from inkmill.show.display import cell, table_of

COLUMNS = ("worker", "host", "pid", "state", "model", "dtype", "device", "tokens/s", "memory", "seen", "scores with")

DAY_SECONDS = 86400.0


def workers_table(workers: list[WorkerRow]) -> Table:
    """The workers as a table."""
    table = table_of(*COLUMNS, shortened=("model", "scores with"), right=("pid", "tokens/s", "memory"))
    for worker in workers:
        cells = (
            worker.id, worker.host, str(worker.pid), worker_state(worker), worker.model or "–",
            worker.dtype, worker.device,
            f"{worker.tokens_per_second:,.0f}", f"{worker.memory_mb:,.0f} MB", f"{duration(worker.silent)} ago",
            ", ".join(worker.classifiers),
        )  # fmt: skip
        table.add_row(*map(cell, cells))
    return table


def remarks(workers: list[WorkerRow]) -> Iterator[str]:
    """What the table has no room for: errors, and why some have no slots."""
    for worker in workers:
        if worker.error:
            yield f"{worker.id}: {on_one_line(worker.error)}"
        if worker.without_slots:
            yield f"{worker.id}: {on_one_line(worker.without_slots)}"


def is_listed(worker: WorkerRow) -> bool:
    """Whether a worker is listed without being asked for: those that stopped in order, and old ones, are not."""
    return worker.state != "stopped" and worker.silent < DAY_SECONDS


def worker_state(worker: WorkerRow) -> str:
    """As it says itself, but for one that says nothing any more."""
    return "silent" if worker.state in ALIVE and not worker.alive else worker.state


def worker_json(worker: WorkerRow) -> dict[str, Any]:
    """A worker as `--json` prints it: docs/commands.md promises its fields."""
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "state": worker_state(worker),
        "model": worker.model or None,
        "revision": worker.revision,
        "dtype": worker.dtype,
        "device": worker.device,
        "threads": worker.threads,
        "engine": worker.engine,
        "numerics": worker.numerics,
        "why_fallback": worker.why_fallback,
        "classifiers": worker.classifiers,
        "tokens_per_second": round(worker.tokens_per_second, 1),
        "memory_mb": round(worker.memory_mb, 1),
        "started_at": iso(worker.started_at),
        "last_seen": iso(worker.last_seen),
        "error": worker.error,
    }
