"""One look for all who watch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from review.live.shared_reads import KEPT_TOPICS, SharedReads


def test_many_who_watch_at_once_cost_one_look() -> None:
    looks = count()
    reads = SharedReads()

    def read() -> int:
        time.sleep(0.05)
        return next(looks)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: reads.get("job 1", read, 10.0), range(100)))
    assert set(found) == {0}


def test_a_look_is_old_after_its_time() -> None:
    looks = count()
    reads = SharedReads()
    assert [reads.get("a", lambda: next(looks), 0.0) for _ in range(3)] == [0, 1, 2]


def test_topics_do_not_see_each_other_and_are_forgotten_in_the_end() -> None:
    reads = SharedReads()
    assert [reads.get(i, lambda i=i: i, 10.0) for i in range(KEPT_TOPICS + 5)] == list(range(KEPT_TOPICS + 5))
    assert reads.get(0, lambda: "again", 10.0) == "again"


def test_a_look_that_failed_is_tried_again() -> None:
    reads = SharedReads()
    with pytest.raises(ZeroDivisionError):
        reads.get("a", lambda: 1 / 0, 10.0)
    assert reads.get("a", lambda: 1.0, 10.0) == 1.0
