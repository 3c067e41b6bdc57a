"""What most commands begin with: this installation's settings and its open database."""

from __future__ import annotations

from contract.settings import Settings, settings
from db.session.engine import Database, open_database


def opened() -> tuple[Settings, Database]:
    """The settings and the database, made and migrated where it is missing.

    Raises:
        InkmillError: where either cannot be used.
    """
    where = settings()
    return where, open_database(where.sql_url, timeout=where.service_seconds)
