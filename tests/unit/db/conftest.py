"""What the tests of the database share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db.session.engine import Database
from tests.unit.db.desk import Desk
from tests.unit.db.mill import Mill


@pytest.fixture
def mill(database: Database) -> Iterator[Mill]:
    """A miniature producer and worker on each kind of database. However a test went, counters equal rows after it."""
    mill = Mill(database)
    yield mill
    mill.assert_counters()


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A mill with reviewers. However a test went, the queue says after it what the outputs and the record say."""
    desk = Desk(database)
    yield desk
    desk.assert_counters()
    desk.assert_in_step()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind that has no table yet."""
    name = "sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    url: str = request.getfixturevalue(name)
    return url
