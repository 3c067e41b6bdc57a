"""Estimates with their uncertainty, as plain numbers: shares, totals, and the share of one total in two.

Knows nothing of texts, labels or thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt

Z = 1.959964
"""The normal quantile for a 95 % interval."""
STEPS = 50


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def times(self, number: float) -> Estimate:
        return Estimate(self.value * number, self.low * number, self.high * number)

    def at_most(self, limit: float) -> Estimate:
        return Estimate(min(self.value, limit), min(self.low, limit), min(self.high, limit))


NOTHING = Estimate(0.0, 0.0, 0.0)


def wilson(share: float, trials: float) -> Estimate:
    """The share of successes in `trials`, with the score interval (Wilson 1927, JASA 22:209-212).

    Args:
        trials: over 0; the effective number, where the trials weigh differently or are many of a finite population.
    """
    square = Z * Z / trials
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * sqrt(share * (1 - share) / trials + square / (4 * trials))
    # Rounding must not put the estimate outside its own interval.
    return Estimate(share, max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0))


def share_of(successes: float, seen: float, population: float) -> Estimate:
    """The share of successes in a finite population, of which `seen` were sampled uniformly.

    The larger the sample, the less uncertainty; with all of it there is none (the finite population correction,
    Cochran, Sampling Techniques, 3rd ed., section 2.6, applied to Wilson's interval as a larger number of trials).
    """
    share = successes / seen
    if seen >= population:
        return Estimate(share, share, share)
    return wilson(share, seen / (1 - seen / population))


def effective(weights: float, squares: float) -> float:
    """How many equal trials unequally weighted ones are worth (Kish 1965, Survey Sampling, section 11.7)."""
    return weights * weights / squares if squares else 0.0


def total(parts: Iterable[Estimate]) -> Estimate:
    """The sum of independent estimates: MOVER (Zou and Donner 2008, Statistics in Medicine 27:1693-1702)."""
    value = below = above = 0.0
    for part in parts:
        value += part.value
        below += (part.value - part.low) ** 2
        above += (part.high - part.value) ** 2
    return Estimate(value, max(value - sqrt(below), 0.0), value + sqrt(above))


def fraction(one: Estimate, other: Estimate, covary: Callable[[float, float], float] | None = None) -> Estimate | None:
    """The share of `one` in the sum of both, neither of them below 0; None where both are 0.

    A share r is in the interval where 0 is in that of (1 - r) one - r other by MOVER: Fieller's argument, which also
    holds for small counts, where a linearised variance would be 0 and claim certainty.

    Args:
        covary: the covariance term added to the squared half width, given the weights 1 - r and r.
    """
    if one.value + other.value <= 0:
        return None
    more: Callable[[float, float], float] = covary or (lambda first, second: 0.0)

    def lower(r: float) -> float:
        below = ((1 - r) * (one.value - one.low)) ** 2 + (r * (other.high - other.value)) ** 2 + more(1 - r, r)
        return (1 - r) * one.value - r * other.value - sqrt(max(below, 0.0))

    def upper(r: float) -> float:
        above = ((1 - r) * (one.high - one.value)) ** 2 + (r * (other.value - other.low)) ** 2 + more(1 - r, r)
        return (1 - r) * one.value - r * other.value + sqrt(max(above, 0.0))

    value = one.value / (one.value + other.value)
    return Estimate(value, min(_root(lower), value), max(_root(upper), value))


def _root(falling: Callable[[float], float]) -> float:
    """Where between 0 and 1 a function falls below 0; 1 where it does not."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low
