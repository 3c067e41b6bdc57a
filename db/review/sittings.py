"""Sittings that reviewers ended: a cookie is valid until it runs out, unless its sitting is in this record.

Who sits, and how a cookie is signed, is not known here.
"""

from __future__ import annotations

from sqlalchemy import delete, exists, select, text

from db.review_models import EndedSitting
from db.session.engine import Database

SPARE_SECONDS = 86400.0
"""How much longer than its cookie an entry is kept: the clocks of several servers may differ."""


def end_sitting(database: Database, sitting: str, until: float, *, now: float) -> None:
    """Enters a sitting as ended; the same again changes nothing. What has run out long since is taken away.

    Args:
        until: when its cookie runs out by itself, in seconds since the epoch.
        now: by the clock that gave the cookie its time.
    """
    with database.write() as connection:
        connection.execute(delete(EndedSitting).where(EndedSitting.until < now - SPARE_SECONDS))
        entering = text("INSERT INTO ended_sittings (sitting, until) VALUES (:sitting, :until) ON CONFLICT DO NOTHING")
        connection.execute(entering, {"sitting": sitting, "until": until})


def has_ended(database: Database, sitting: str) -> bool:
    """Whether its reviewer has signed out."""
    with database.read() as connection:
        return bool(connection.scalar(select(exists().where(EndedSitting.sitting == sitting))))
