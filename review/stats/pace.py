"""How fast a job goes now and when it will be over, as a range: pure numbers from when its newest texts arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from db.insights.pace import Arrivals

WINDOWS = 10
STUDENT = 1.383
"""Student's t for 80 of 100 and WINDOWS - 1 degrees of freedom."""
LEAST_DOUBT = 0.1
"""Paces drift with the prompts' lengths and with the machine's other work: no range is narrower, each way."""
FEWEST = 20
"""With fewer arrivals there is no pace to speak of."""


@dataclass(frozen=True, slots=True)
class Range:
    """Seconds left: in about 8 of 10 cases between these."""

    low: float
    high: float


def tokens_per_second(seen: Arrivals) -> float | None:
    """Tokens a second over the last minutes; None where too few texts came for a pace."""
    if len(seen.texts) < FEWEST:
        return None
    span = seen.now - seen.texts[-1]
    return sum(seen.tokens) / span if span > 0 else None


def time_left(seen: Arrivals, to_write: int, to_score: int) -> Range | None:
    """When the last text will be written and scored.

    Both are estimated alike from what was stored in the last minutes, and the later end counts, since they go on beside
    each other. None where one of them has work left and no pace: then nothing can be said.
    """
    stages = [(to_write, seen.texts), (to_score, seen.scores)]
    ranges = [_stage(left, times, seen.now) for left, times in stages if left > 0]
    known = [found for found in ranges if found is not None]
    if not known or len(known) < len(ranges):
        return None
    return Range(max(found.low for found in known), max(found.high for found in known))


def _stage(left: int, times: Sequence[float], now: float) -> Range | None:
    """Seconds for `left` more arrivals.

    The time since the oldest one is cut into windows of equal length. Their mean count is the pace; how much they vary
    gives the doubt about the mean of as many windows as are still to come (a prediction interval for a future mean:
    s * sqrt(1/k + 1/m); Hahn and Meeker 1991, Statistical Intervals, section 4.7).
    """
    if len(times) < FEWEST or now - times[-1] <= 0:
        return None
    width = (now - times[-1]) / WINDOWS
    counts = [0] * WINDOWS
    for at in times:
        counts[min(int((now - at) / width), WINDOWS - 1)] += 1
    mean = fmean(counts)
    to_come = max(left / mean, 1.0)
    doubt = max(STUDENT * stdev(counts) / mean * sqrt(1 / WINDOWS + 1 / to_come), LEAST_DOUBT)
    seconds = to_come * width
    return Range(seconds / (1 + doubt), seconds / max(1 - doubt, 0.1))
