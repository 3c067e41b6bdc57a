"""What psycopg's generators are given when a wait for them is broken off and taken up again."""

from __future__ import annotations

import operator
from collections.abc import Generator

import pytest
from psycopg.waiting import READY_R, WAIT_RW

from db.session.keepalive import _resumed


def sending() -> Generator[int, int, str]:
    """Like psycopg's compiled generators, which take nothing but a number while a statement is being sent."""
    for _ in range(3):
        ready = yield WAIT_RW
        if operator.index(ready) & READY_R:
            return "sent"
    return "given up"


def test_a_generator_under_way_is_taken_up_again_without_a_type_error() -> None:
    under_way = sending()
    assert next(under_way) == WAIT_RW  # the first wait, broken off
    again = _resumed(under_way)
    assert next(again) == WAIT_RW  # as a wait begins
    again.close()  # broken off once more
    last = _resumed(under_way)
    assert next(last) == WAIT_RW
    with pytest.raises(StopIteration, match="sent"):
        last.send(READY_R)
