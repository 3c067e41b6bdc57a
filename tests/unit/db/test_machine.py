"""Whatever producers, workers and users do, and in whatever order, nothing is lost and nothing is stored twice."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from db.session import Database
from tests.unit.db.machine import Machine
from tests.unit.db.stored import hurry

LONG = "FUZZ" in os.environ
EXAMPLES = int(os.environ.get("FUZZ", "12"))
"""Of up to `STEPS` steps. FUZZ=1000, with --timeout=0, is for a longer look: at others each time, or at those of
--hypothesis-seed, and what is found is made small."""
STEPS = 50


def test_any_order_of_operations_ends_as_the_model_says(database: Database) -> None:
    hurry(database)
    run_state_machine_as_test(
        type("BoundMachine", (Machine,), {"database": database}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not LONG,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
