"""One look for all who watch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from review.live.watching import KEPT_TOPICS, Watched


def test_many_who_watch_at_once_cost_one_look() -> None:
    looks = count()
    watched = Watched()

    def read() -> int:
        time.sleep(0.05)
        return next(looks)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: watched.look("job 1", read, 10.0), range(100)))
    assert set(found) == {0}


def test_a_look_is_old_after_its_time() -> None:
    looks = count()
    watched = Watched()
    assert [watched.look("a", lambda: next(looks), 0.0) for _ in range(3)] == [0, 1, 2]


def test_topics_do_not_see_each_other_and_are_forgotten_in_the_end() -> None:
    watched = Watched()
    assert [watched.look(i, lambda i=i: i, 10.0) for i in range(KEPT_TOPICS + 5)] == list(range(KEPT_TOPICS + 5))
    assert watched.look(0, lambda: "again", 10.0) == "again"


def test_a_look_that_failed_is_tried_again() -> None:
    watched = Watched()
    with pytest.raises(ZeroDivisionError):
        watched.look("a", lambda: 1 / 0, 10.0)
    assert watched.look("a", lambda: 1.0, 10.0) == 1.0
