"""Sites that tests of the review page start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db.session.engine import Database, open_database
from tests.browser.stock import Piece, stock
from tests.unit.db.mill import Mill
from tests.unit.review.site import Site

PIECES = (
    Piece(" lived quietly by the sea.", 0.10),
    Piece(" shouted that they were all fools.", 0.75, prompt="The captain"),
    Piece(" said something that nobody should read by accident.", 0.97, prompt="Dear Aunt"),
    Piece(" grumbled about the weather and the mayor.", 0.72),
)


@pytest.fixture
def one_database(sqlite_url: str) -> Iterator[Database]:
    """SQLite: for what has nothing to do with the kind of database."""
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def site(one_database: Database) -> Site:
    """A page with four outputs, 1 to 4, three of them flagged; mara is signed in."""
    stock(one_database, PIECES)
    return Site(one_database).sign_in()


@pytest.fixture
def both(database: Database) -> Site:
    """The same on each kind of database."""
    stock(database, PIECES)
    return Site(database).sign_in()


@pytest.fixture
def mill(database: Database) -> Mill:
    """A miniature producer and worker on each kind of database."""
    return Mill(database)
