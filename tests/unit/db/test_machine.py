"""Whatever producers, workers and users do, and in whatever order, nothing is lost and nothing is stored twice."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from db.session.engine import Database
from tests.examples import SEARCHING, examples
from tests.unit.db.machine import Machine
from tests.unit.db.stored import hurry

EXAMPLES = 12
"""Of up to `STEPS` steps. What a search finds is made small."""
STEPS = 50


@pytest.mark.hypothesis
def test_any_order_of_operations_ends_as_the_model_says(database: Database) -> None:
    hurry(database)
    run_state_machine_as_test(
        type("BoundMachine", (Machine,), {"database": database}),
        settings=examples(
            EXAMPLES,
            stateful_step_count=STEPS,
            phases=[Phase.generate, Phase.shrink] if SEARCHING else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
