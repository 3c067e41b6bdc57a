"""Locking rows in the one order in which everybody locks several, so that no two transactions wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select


def lock_rows(connection: Connection, table: Any, *where: ColumnElement[bool]) -> Sequence[int]:
    """Locks the rows of a table that meet the conditions, in the order of their ids, which it returns.

    FOR NO KEY UPDATE: a plain lock would wait for every transaction that stored a row that refers to one of these. On
    SQLite the transaction holds the one write lock anyway.
    """
    rows = select(table.id).where(*where).order_by(table.id)
    return connection.scalars(rows.with_for_update(of=table, key_share=True)).all()
