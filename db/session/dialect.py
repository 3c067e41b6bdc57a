"""Where statements for SQLite and PostgreSQL differ, behind a few verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

CHUNK_IDS = 1000
"""Ids named by one statement: SQLite limits how many values it may hold."""


def is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def insert_or(connection: Connection, table: Any) -> Any:
    """An insert into a table that can go on with `on_conflict_do_nothing` or `on_conflict_do_update`."""
    return (sqlite if is_sqlite(connection) else postgresql).insert(table)


def id_chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ids, as many at a time as one statement may name."""
    return (ids[first : first + CHUNK_IDS] for first in range(0, len(ids), CHUNK_IDS))
