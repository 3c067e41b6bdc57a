"""The short form of two rows of the chaos bench with fixed seeds: a hostile Redis, and threads that hang."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.chaos.running import all_rows, attack
from bench.chaos.stack import Stack, opened

SEED = 5
ROWS = {row.number: row for row in all_rows() if row.number in (7, 14)}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack on SQLite whose workers both rows use."""
    with opened("sqlite", ROWS[14].environment) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("number", [7, 14])
def test_nothing_is_lost_or_doubled_whatever_lies_in_redis_and_whatever_hangs(stack: Stack, number: int) -> None:
    trial = attack(ROWS[number], stack, "sqlite", SEED, short=True)
    assert trial.passed, [str(check) for check in trial.checks if not check.holds]
