"""Tunings as commands list them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from db.session.engine import Database
from db.tuning.tunings import StoredTuning, list_tunings, unfinished_tunings
from inkmill.show.display import cell, table_of

COLUMNS = ("tuning", "name", "base", "status", "step", "model", "created")
RECENT_SECONDS = 86400.0


def current_tunings(database: Database, limit: int) -> list[StoredTuning]:
    """Those that are not over, or ended within the last day, newest first."""
    since = time.time() - RECENT_SECONDS
    recent = [one for one in list_tunings(database, limit) if one.finished_at is None or one.finished_at > since]
    numbers = {one.id for one in recent}
    older = [one for one in unfinished_tunings(database) if one.id not in numbers]
    return sorted([*recent, *older], key=lambda one: one.id, reverse=True)[:limit]


def tunings_table(tunings: Sequence[StoredTuning]) -> Table:
    """The tunings as a table."""
    table = table_of(*COLUMNS, shortened=("name", "base"), right=("step",))
    for one in tunings:
        created = datetime.fromtimestamp(one.created_at).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            *map(cell, (one.reference, one.name, one.base, one.status.value, _step(one), one.model or "", created))
        )
    return table


def _step(tuning: StoredTuning) -> str:
    progress = tuning.progress or {}
    step, steps = progress.get("step"), progress.get("steps")
    return f"{step:,}/{steps:,}" if step and steps else ""
