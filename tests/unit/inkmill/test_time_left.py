"""`eta_seconds` and `eta_range` in the JSON of commands: the same everywhere, and null where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from contract.settings import Settings
from db.insights.pace import Pace, TimeLeft
from db.jobs.status import snapshot
from db.models import Batch, Job, Output, Score
from db.session.engine import Database, now, open_database
from inkmill.cli import run
from inkmill.show.display import ProgressLine, status_json
from tests.unit.db.mill import Mill
from tests.unit.inkmill.conftest import DEMO, Told, finish

Printed = Callable[..., Any]


@pytest.fixture
def printed(folder: object, capsys: pytest.CaptureFixture[str]) -> Printed:
    """The JSON that a command prints."""

    def printing(*words: str) -> Any:
        run([*words, "--json"])
        return json.loads(capsys.readouterr().out)

    return printing


def half_done(seconds: float) -> Mill:
    """A job of 120 prompts, half of them written and scored, a text in so many seconds, and a batch in progress."""
    mill = Mill(open_database(Settings().sql_url))
    job = mill.submit(120, batch_size=30)
    for _ in range(2):
        mill.finish(mill.claim())
        mill.finish_texts(mill.claim_texts())
    mill.claim()
    with mill.database.write() as connection:
        for place, output in enumerate(mill.outputs(job), 1):
            written = now() - seconds * (60 - place)
            scored = now() - seconds * (30 if place <= 30 else 0) + place % 30 * 0.1
            connection.execute(update(Output).where(Output.id == output.id).values(created_at=written))
            connection.execute(update(Score).where(Score.output_id == output.id).values(created_at=scored))
        connection.execute(update(Job).values(started_at=now() - 60 * seconds))
    return mill


def test_jobs_and_status_give_the_same_range_with_the_estimate_in_it(printed: Printed) -> None:
    mill = half_done(seconds=60)
    mill.submit(1)  # nothing of it is written yet
    listed = {job["id"]: job for job in printed("jobs")}
    for found in (listed[1], printed("status", "1")):
        low, high = found["eta_range"]
        assert low <= found["eta_seconds"] <= high
        assert low <= 60 * 60 <= high
        assert (low, high) == pytest.approx(listed[1]["eta_range"], abs=30)  # a moment later
    for found in (listed[2], printed("status", "2")):
        assert (found["eta_seconds"], found["eta_range"]) == (None, None)
    mill.database.close()


def test_a_job_that_waits_has_no_range(printed: Printed) -> None:
    mill = half_done(seconds=60)
    with mill.database.write() as connection:
        connection.execute(update(Batch).where(Batch.status == "generating").values(status="pending"))
    for found in (printed("jobs")[0], printed("status", "1")):
        assert "a worker that serves model demo" in found["waiting_for"]
        assert (found["eta_seconds"], found["eta_range"], found["tokens_per_second"]) == (None, None, 0.0)
    mill.database.close()


def test_a_job_that_is_over_has_no_range_in_any_command(told: Told, printed: Printed) -> None:
    finish(told)
    for found in (
        printed("jobs")[0], printed("status", "1"), printed("watch", "1"), printed("run", "p.jsonl", *DEMO),
    ):  # fmt: skip
        assert found["status"] == "completed"
        assert (found["eta_seconds"], found["eta_range"]) == (None, None)
        assert found["tokens_per_second"] > 0


def test_rounding_keeps_the_estimate_within_its_range(database: Database) -> None:
    job = snapshot(database, Mill(database).submit(1))
    found = status_json(job, Pace(1.0, 1.0, TimeLeft(1.04, 1.04, 1.06)), None)
    assert (found["eta_seconds"], found["eta_range"]) == (1.0, [1.0, 1.1])


@pytest.mark.parametrize(
    ("time_left", "words"),
    [(TimeLeft(170, 200, 310), "3 to 5 min left"), (TimeLeft(0, 1, 4), "up to 4 s left"), (None, "")],
)  # fmt: skip
def test_the_line_that_follows_a_job_says_what_is_left_where_it_is_known(
    database: Database, capsys: pytest.CaptureFixture[str], time_left: TimeLeft | None, words: str
) -> None:
    ProgressLine().show(snapshot(database, Mill(database).submit(1)), Pace(1.0, 1.0, time_left), None)
    line = capsys.readouterr().err.strip()
    assert line.endswith(words or "tokens/s")
