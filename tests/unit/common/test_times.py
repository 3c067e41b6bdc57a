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
     (7260, 7800, "2 h 01 min to 2 h 10 min"), (9.4, 9.6, "9 to 10 s"), (0.6, 9, "1 to 9 s"),
     (99, 110, "99 s to 2 min"), (5900, 6100, "98 min to 1 h 42 min"),
     (35000, 36000, "9 h 43 min to 10 h"), (36100, 48000, "10 to 13 h"),
     (40 * 3600, 50 * 3600, "40 h to 2 days"), (3.7 * 86400, 5.2 * 86400, "4 to 5 days")],
)  # fmt: skip
def test_a_range_says_its_unit_once_where_it_can(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.0, 2.4, "up to 2 s"), (0.4, 9.7, "up to 10 s"), (0.0, 130, "up to 2 min"), (0.0, 3 * 86400, "up to 3 days")],
)
def test_a_range_from_nothing_says_its_end_alone(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(170, 200, "about 3 min"), (0.0, 0.7, "about 1 s"), (0.0, 0.0, "about 1 s"), (9.6, 10.4, "about 10 s"),
     (36100, 37000, "about 10 h"), (3.9 * 86400, 4.1 * 86400, "about 4 days")],
)  # fmt: skip
def test_a_range_whose_ends_read_alike_is_said_once(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


def test_a_time_for_machines_is_utc() -> None:
    assert iso(1792879200.4) == "2026-10-24T22:00:00Z"
    assert iso(None) is None
