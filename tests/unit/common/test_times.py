"""Durations and times as people and machines read them."""

from __future__ import annotations

import pytest

from common.times import duration, duration_range, iso


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (-1, "0.0 s"), (4.24, "4.2 s"), (9.96, "10 s"), (40, "40 s"), (99.6, "2 min"), (200, "3 min"),
     (5940, "99 min"), (7800, "2 h 10 min"), (36060, "10 h 01 min")],
)  # fmt: skip
def test_a_duration_is_short(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(170, 310, "3 to 5 min"), (50, 130, "50 s to 2 min"), (3.2, 7.9, "3 to 8 s"), (5000, 7800, "83 min to 2 h 10 min"),
     (7260, 7800, "2 h 01 min to 2 h 10 min")],
)  # fmt: skip
def test_a_range_says_its_unit_once_where_it_can(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


@pytest.mark.parametrize(("low", "high", "words"), [(170, 200, "about 3 min"), (0.0, 0.7, "about 1 s")])
def test_a_range_whose_ends_read_alike_is_said_once(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


def test_a_time_for_machines_is_utc() -> None:
    assert iso(1792879200.4) == "2026-10-24T22:00:00Z"
    assert iso(None) is None
