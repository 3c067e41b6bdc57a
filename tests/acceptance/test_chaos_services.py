"""The short form of one row of the chaos bench, with a fixed seed: a Redis whose messages cannot be trusted."""

from __future__ import annotations

import pytest

from bench.chaos.running import all_rows, run_row

SEED = 5


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_executed_whatever_lies_in_redis() -> None:
    row = next(row for row in all_rows() if row.number == 7)
    trial = run_row(row, "sqlite", SEED, short=True)
    assert trial.passed, [str(check) for check in trial.checks if not check.holds]
