"""How fast a job goes, and the range in which it ends."""

from __future__ import annotations

import random

from db.insights.pace import Arrivals
from review.stats.pace import LEAST_DOUBT, time_left, tokens_per_second


def _seen(texts: list[float], scores: list[float] | None = None, now: float = 1000.0) -> Arrivals:
    newest = sorted(texts, reverse=True)
    return Arrivals(
        now=now, texts=tuple(newest), tokens=(10,) * len(texts), scores=tuple(sorted(scores or [], reverse=True))
    )


EVEN = [901.0 + i for i in range(99)] + [900.0]


def test_tokens_a_second_are_those_of_the_last_minutes() -> None:
    assert tokens_per_second(_seen(EVEN)) == 10.0
    assert tokens_per_second(_seen(EVEN[:5])) is None
    assert tokens_per_second(_seen([])) is None


def test_an_even_pace_gives_the_narrowest_range() -> None:
    found = time_left(_seen(EVEN), to_write=600, to_score=0)
    assert found is not None
    assert abs(found.low - 600 / (1 + LEAST_DOUBT)) < 1
    assert abs(found.high - 600 / (1 - LEAST_DOUBT)) < 1


def test_an_uneven_pace_widens_the_range() -> None:
    bursts = [900.0 + 30 * burst + i / 100 for burst in range(4) for i in range(25)]
    even, uneven = (time_left(_seen(times), 100, 0) for times in (EVEN, bursts))
    assert even is not None and uneven is not None
    assert uneven.high - uneven.low > 2 * (even.high - even.low)


def test_the_slower_of_writing_and_scoring_decides() -> None:
    slow = [900.0 + 2.5 * i for i in range(40)]
    both = time_left(_seen(EVEN, slow), to_write=100, to_score=100)
    alone = time_left(_seen(EVEN, slow), to_write=0, to_score=100)
    assert both == alone
    assert both is not None and both.low > 150


def test_nothing_is_said_without_a_pace() -> None:
    assert time_left(_seen([]), 10, 10) is None
    assert time_left(_seen(EVEN), to_write=10, to_score=10) is None  # nothing was scored lately
    assert time_left(_seen(EVEN), 0, 0) is None


def test_the_range_holds_the_truth_in_about_eight_of_ten() -> None:
    dice = random.Random(8123)
    held, rounds = 0, 300
    for _ in range(rounds):
        times, at = [], 0.0
        while len(times) < 700:  # bursts of eight, as groups are saved, at random times
            at += dice.expovariate(1 / 3.0)
            times += [at] * 8
        now = times[300] + 1.0
        found = time_left(_seen(times[:301], now=now), to_write=300, to_score=0)
        assert found is not None
        held += found.low <= times[600] - now <= found.high
    assert 0.72 <= held / rounds <= 0.95, f"{held / rounds:.0%}"
