"""How many examples hypothesis tries: the same few each time, and with FUZZ=N N times as many, others each time.

With FUZZ, --hypothesis-seed=S draws the same ones again.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("FUZZ", "1"))
SEARCHING = "FUZZ" in os.environ


def examples(count: int, **others: object) -> settings:
    """Settings of a test that tries so many examples, or with FUZZ so many times as many."""
    return settings(max_examples=count * TIMES, **others)  # type: ignore[arg-type]


def load_profile() -> None:
    """What every test goes by: nothing depends on the day, on an earlier run's finds, or on how fast a machine is."""
    settings.register_profile(
        "inkmill",
        max_examples=100 * TIMES,
        derandomize=not SEARCHING,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[phase for phase in Phase if phase != Phase.reuse],
    )
    settings.load_profile("inkmill")
