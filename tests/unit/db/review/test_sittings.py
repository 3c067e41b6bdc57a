"""Sittings that were ended, and for how long that is remembered."""

from __future__ import annotations

from sqlalchemy import func, select

from db.review.sittings import SPARE_SECONDS, end_sitting, has_ended
from db.review_models import EndedSitting
from db.session.engine import Database

NOW, WEEK = 1_800_000_000.0, 7 * 86400


def test_an_ended_sitting_is_remembered_until_its_cookie_has_run_out_everywhere(database: Database) -> None:
    for _ in range(2):
        end_sitting(database, "first", NOW + WEEK, now=NOW)
    assert has_ended(database, "first") and not has_ended(database, "second")
    end_sitting(database, "second", NOW + 2 * WEEK, now=NOW + WEEK + SPARE_SECONDS - 1)
    assert has_ended(database, "first") and has_ended(database, "second")
    end_sitting(database, "third", NOW + 3 * WEEK, now=NOW + WEEK + SPARE_SECONDS + 1)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(EndedSitting)) == 2
