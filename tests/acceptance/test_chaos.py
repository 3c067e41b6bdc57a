"""The short form of the chaos bench: rows of docs/reliability.md with fixed seeds and small figures.

The long form, whose figures that page shows, is `make chaos`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.chaos.row_runner import all_rows, run_row, run_row_in
from bench.chaos.stack import Stack, running_stack

SEED = 5
ON_ONE_STACK = (7, 1, 13, 2, 9)
"""Rows that follow each other on the same servers and workers; the last one leaves dead prompts behind."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack on SQLite for the rows that can share one."""
    with running_stack("sqlite", {"INKMILL_NICE": "0"}) as found:  # other tests want the cores all the while
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("number", [*ON_ONE_STACK, pytest.param(8, marks=pytest.mark.long)])
def test_nothing_is_lost_or_doubled_whatever_happens(stack: Stack, number: int) -> None:
    row = next(row for row in all_rows() if row.number == number)
    trial = run_row_in(row, stack, "sqlite", SEED, short=True)
    assert trial.passed, [str(check) for check in trial.checks if not check.holds]


def test_a_producer_killed_and_started_again_makes_one_job_of_each_file() -> None:
    row = next(row for row in all_rows() if row.number == 3)
    trial = run_row(row, "sqlite", SEED, short=True)
    assert trial.passed, [str(check) for check in trial.checks if not check.holds]


@pytest.mark.long
@pytest.mark.parametrize("number", [17, 20, 22])  # 18 and 19: test_two_homes.py and test_redis_files.py
def test_a_home_of_its_own_keeps_its_promises_whatever_happens(number: int) -> None:
    row = next(row for row in all_rows() if row.number == number)
    trial = run_row(row, "sqlite", SEED, short=True)
    assert trial.passed, [str(check) for check in trial.checks if not check.holds]
