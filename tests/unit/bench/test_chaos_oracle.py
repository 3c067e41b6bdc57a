"""The chaos bench's oracle finds what it is there to find: each kind of damage, done to tables that were right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.ledger import Ledger
from bench.chaos.oracle import Expected, judge
from bench.chaos.rawsql import RawSql
from contract.spec import PromptRow
from db.session.engine import Database, open_database
from tests.unit.db.mill import Mill

PROMPTS, LEASE = 5, 2.0
SCORES, QUEUE = "one score for each output", "the review queue holds every flagged output, and no other"


@dataclass
class Court:
    """A job that is done, and an oracle that may be asked about it."""

    sql: RawSql
    ledger: Ledger
    job: int

    def failed(self, **expected: Any) -> set[str]:
        """The checks that do not hold."""
        texts = {(f"c-{i}", sample): f"text {i}.{sample}" for i in range(PROMPTS) for sample in range(2)}
        wanted = Expected(texts={self.job: texts}, lease_seconds=LEASE, **expected)
        return {check.what for check in judge(self.sql, self.ledger.read(), wanted) if not check.holds}


def finished_job(database: Database, folder: Path, **spec: Any) -> Court:
    """A job whose outputs are all done and scored; the last batch's are flagged, where it is scored at all."""
    mill = Mill(database)
    rows = [PromptRow(position=i, prompt="p", n=2, custom_id=f"c-{i}") for i in range(PROMPTS)]
    job = mill.submit(rows, **spec)
    while mill.finish(mill.claim()):
        toxic = all(batch.status != "pending" for batch in mill.batches(job))
        mill.finish_texts(mill.claim_texts(), toxicity=0.9 if toxic else 0.1)
        if toxic:
            break
    mill.work_off()
    ledger = Ledger(folder / "ledger")
    ledger.acknowledge(job, {f"c-{i}": 2 for i in range(PROMPTS)})
    plain = database.url.set(drivername=database.url.get_backend_name())
    return Court(RawSql(plain.render_as_string(hide_password=False)), ledger, job)


@pytest.fixture
def court(sqlite_url: str, tmp_path: Path) -> Iterator[Court]:
    database = open_database(sqlite_url)
    yield finished_job(database, tmp_path)
    database.close()


def test_a_job_that_ended_as_it_should_passes_every_check(database: Database, tmp_path: Path) -> None:
    assert finished_job(database, tmp_path).failed() == set()


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        ("DELETE FROM outputs WHERE sample_index = 1", "exactly one output for each prompt and sample"),
        ("UPDATE outputs SET sample_index = 7 WHERE id = 1", "exactly one output for each prompt and sample"),
        ("UPDATE prompts SET custom_id = 'x' WHERE position = 2", "every acknowledged prompt is there"),
        ("UPDATE prompts SET custom_id = 'c-1'", "no prompt is there twice, or was never acknowledged"),
        ("UPDATE prompts SET status = 'pending' WHERE position = 0", "done + dead + cancelled = submitted"),
        ("UPDATE prompts SET batch_id = 99 WHERE position = 0",
         "every output has its prompt, every prompt its batch, every batch its job"),
        ("UPDATE prompts SET status = 'dead' WHERE position = 0", "no innocent prompt is dead"),
        ("UPDATE prompts SET status = 'cancelled' WHERE position = 0", "nothing is cancelled that nobody cancelled"),
        ("UPDATE jobs SET status = 'running'", "the jobs are completed, and no others are there"),
        ("UPDATE batches SET generated_tokens = generated_tokens + 1 WHERE id = 1", "the counters equal the rows"),
        ("DELETE FROM scores WHERE output_id = 1", SCORES),
        ("UPDATE outputs SET safety = 'none' WHERE id = 1", SCORES),
        ("DELETE FROM scores WHERE output_id = 1; UPDATE outputs SET safety = 'none' WHERE id = 1", SCORES),
        ("DELETE FROM scores WHERE output_id = 1; UPDATE outputs SET safety = 'unscored' WHERE id = 1", SCORES),
        ("DELETE FROM reviews", QUEUE),
        ("UPDATE reviews SET state = 'approved'", QUEUE),
        ("UPDATE reviews SET state = 'unflagged'", QUEUE),
        ("UPDATE reviews SET flagged = FALSE", QUEUE),
        ("UPDATE reviews SET job_id = job_id + 1", QUEUE),
        ("UPDATE reviews SET output_id = 1 WHERE output_id = (SELECT max(output_id) FROM reviews)", QUEUE),
        ("UPDATE reviews SET output_id = 999 WHERE output_id = (SELECT max(output_id) FROM reviews)", QUEUE),
        ("UPDATE outputs SET flagged = NOT flagged WHERE id = 1", QUEUE),
        ("UPDATE outputs SET flagged = FALSE", QUEUE),
        ("UPDATE outputs SET text = 'another' WHERE id = 1", "each text equals the undisturbed run's"),
        ("UPDATE batches SET lease_until = 1 WHERE id = 1", "no lease is older than twice its length"),
    ],
)  # fmt: skip
def test_damage_is_noticed(court: Court, damage: str, noticed: str) -> None:
    court.sql.execute(*damage.split("; "))
    assert noticed in court.failed()


def test_what_the_classifier_failed_at_passes_only_where_the_row_says_so(court: Court) -> None:
    court.sql.execute("DELETE FROM scores WHERE output_id = 1", "UPDATE outputs SET safety = 'unscored' WHERE id = 1")
    assert SCORES in court.failed(unscored=[court.job + 1])
    assert SCORES not in court.failed(unscored=[court.job])


def test_a_job_without_a_classifier_has_no_scores(sqlite_url: str, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    court = finished_job(database, tmp_path, safety="none")
    assert court.failed() == set()
    court.sql.execute("UPDATE jobs SET safety = 'demo'")
    assert SCORES in court.failed()
    database.close()


def test_a_guilty_prompt_has_to_be_dead_for_its_reason(court: Court) -> None:
    what = "no innocent prompt is dead; the 1 guilty are, each with its reason"
    guilty = {court.job: {"c-0": "made to fail"}}
    assert what in court.failed(dead=guilty), "it lives"
    court.sql.execute("UPDATE prompts SET status = 'dead', reason = 'for another reason' WHERE position = 0")
    assert what in court.failed(dead=guilty)
    court.sql.execute("UPDATE prompts SET reason = 'it was made to fail' WHERE position = 0")
    assert what not in court.failed(dead=guilty)


def test_the_ledger_is_read_back_from_the_disk(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").acknowledge(3, {"a": 1, "b": 2})
    again = Ledger(tmp_path / "ledger")
    again.acknowledge(4, {"a": 5})
    assert again.read() == {3: {"a": 1, "b": 2}, 4: {"a": 5}}
