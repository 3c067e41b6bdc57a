"""Views: which outputs match a filter, in which order, from a place onwards or backwards.

There are two kinds, of what is flagged or decided and of everything; who asks need not know which one it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from contract.errors import UsageError
from contract.review import Filter, Order
from db.review.paging import SEARCH_SECONDS, CappedCount, FoundOutputs, Place
from db.review.view_of_everything import ViewOfEverything
from db.review.view_of_reviews import ViewOfReviews


class FilteredView(Protocol):
    """A filter, read against a database as it is now."""

    number: Any  # the column that holds an output's number, for further conditions

    @property
    def order(self) -> Order: ...

    def find(
        self,
        place: Place | None,
        limit: int,
        *,
        forwards: bool = True,
        extra: Sequence[Any] = (),
        seconds: float | None = SEARCH_SECONDS,
    ) -> FoundOutputs:
        """The next `limit` outputs behind a place, or the nearest before it, in the order they were met.

        Args:
            extra: further conditions, on the table that `number` is of.
            seconds: how long a view of everything may be searched; None = to its end.
        """
        ...

    def shows(self, output_id: int) -> bool:
        """Whether an output matches."""
        ...

    def place_of(self, output_id: int) -> Place | None:
        """Where an output lies in this order; None where it is not in the view's table."""
        ...

    def count(self, cap: int | None) -> CappedCount:
        """How many match, counted up to `cap`; None counts to the end."""
        ...

    def versions(self) -> list[tuple[int, int]]:
        """Every output that matches, with its version, in this order."""
        ...


def view_of(connection: Connection, wanted: Filter) -> FilteredView:
    """The view of a filter.

    Raises:
        UsageError: where the query has no word in it.
    """
    return ViewOfEverything(connection, wanted) if wanted.of_everything else ViewOfReviews(connection, wanted)


def read_cursor(view: FilteredView, cursor: str) -> tuple[Place, bool]:
    """A page's `next` or `previous` as a place and a direction.

    Raises:
        UsageError: where it is of another order, or was never a cursor.
    """
    try:
        order, direction, key, output = cursor.split("_")
        place, forwards = Place(float.fromhex(key), int(output)), {"n": True, "p": False}[direction]
        if not (-1e12 < place.key < 1e12 and 0 <= place.output_id < 2**62):
            raise ValueError(cursor)
    except (ValueError, KeyError, OverflowError):
        raise UsageError("this page's address is damaged; start at the first page") from None
    if order != view.order:
        raise UsageError("this page's address belongs to another order; start at the first page")
    return place, forwards


def write_cursor(view: FilteredView, place: Place, *, forwards: bool) -> str:
    """A place and a direction as text for an address."""
    return f"{view.order.value}_{'n' if forwards else 'p'}_{float(place.key).hex()}_{place.output_id}"
