"""What `inkmill run` says while it waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.settings import Settings
from db.session import open_database
from db.status import snapshot
from db.workers import announce
from inkmill.running import Run
from producer.submit import Order
from tests.unit.db.mill import SPEC, Mill

GONE = "the model's folder is gone"


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "its worker, which is starting"),
        ([("failed", GONE)], f"its worker, which is starting (of the one before: {GONE})"),
        ([("failed", GONE), ("starting", None)], f"its worker, which is starting (of the one before: {GONE})"),
        ([("failed", GONE), ("stopped", None)], "its worker, which is starting"),
        ([("failed", GONE), ("ready", None)], None),
    ],
)
def test_a_run_that_waits_for_its_worker_says_what_was_wrong_with_the_last_one(
    tmp_path: Path, states: list[tuple[str, str | None]], said: str | None
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
    job = Mill(database).submit(2)
    for number, (state, error) in enumerate(states):
        worker: dict[str, Any] = {"host": "h", "pid": number, "model": SPEC.model, "dtype": "fp32", "device": "cpu"}
        announce(database, f"w{number}", state=state, error=error, classifiers=[], **worker)
    order = Order(model=None, default_model="demo", safety="demo")
    assert Run(Settings(home=tmp_path), database, order)._waiting(snapshot(database, job)) == said
    database.close()
