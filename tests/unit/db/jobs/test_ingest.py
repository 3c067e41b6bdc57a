"""What a producer writes arrives exactly, and nobody sees any of it before all is there."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from contract.errors import DuplicateJob, UsageError
from contract.spec import JobStatus, PromptRow, SamplingSettings
from db.jobs.ingest import Ingest
from db.jobs.jobs import cancel_job, find_job, get_job, list_jobs, unfinished_jobs
from db.jobs.prompt_rows import CHUNK_ROWS
from db.jobs.retry import retry_job
from db.models import Batch, Job, Prompt
from db.session.engine import Database
from db.work.claims import claim_generation, waiting_generation
from db.work.outputs import incomplete_prompts
from db.work.recovery import finish_jobs
from tests.unit.db.mill import ABILITY, LEASE, SPEC, Mill, rows

ODD_ROWS = [
    PromptRow(position=0, prompt="", n=1),
    PromptRow(position=1, prompt="tab\there, line\nbreak, \\N \\. back\\slash", n=2, custom_id="r-1"),
    PromptRow(position=2, prompt="日本語 🦉 ‮عربي\u2028", n=1000, custom_id="ü", metadata={"z": 1, "a": [None, "é"]}),
    PromptRow(position=3, prompt="'; DROP TABLE prompts; --", n=1, settings={"temperature": 0.5, "stop": ["\n", "🦉"]}),
    PromptRow(position=4, prompt="x" * 100_000, n=1, metadata={"big": 2**63 - 1, "nul": "a\0b"}, settings={}),
]


def count(database: Database, table: type[Any]) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_rows_arrive_exactly_and_in_order(mill: Mill) -> None:
    job = mill.submit(ODD_ROWS)
    stored = mill.prompts(job)
    for row, found in zip(ODD_ROWS, stored, strict=True):
        assert (found.position, found.prompt, found.n, found.custom_id) == (
            row.position, row.prompt, row.n, row.custom_id,
        )  # fmt: skip
        assert found.settings == row.settings
        assert found.metadata == row.metadata
        assert list(found.metadata or ()) == list(row.metadata or ())  # the user's order of keys


def test_what_a_worker_reads_is_what_was_submitted(mill: Mill) -> None:
    mill.submit(ODD_ROWS, batch_size=256)
    work = incomplete_prompts(mill.database, mill.claim())
    assert [(w.position, w.prompt, w.custom_id, w.settings) for w in work] == [
        (r.position, r.prompt, r.custom_id, r.settings) for r in ODD_ROWS
    ]
    assert [len(w.missing) for w in work] == [r.n for r in ODD_ROWS]


def test_batches_follow_the_order_of_the_file(mill: Mill) -> None:
    job = mill.submit(700, n=3, batch_size=3)
    batches = mill.batches(job)
    assert [row.prompts for row in batches] == [3] * 233 + [1]
    assert [row.outputs for row in batches] == [9] * 233 + [3]
    assert [row.batch_id for row in mill.prompts(job)] == [batches[i // 3].id for i in range(700)]


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_chunks_of_any_size_lose_no_prompt(mill: Mill, batch_size: int) -> None:
    ingest = Ingest(mill.database, replace(SPEC, batch_size=batch_size))
    ingest.write(iter(rows(9000)))
    ingest.write([])
    ingest.write(iter(rows(3, start=9000)))
    job = ingest.finish()
    assert (ingest.prompts, ingest.outputs) == (9003, 9003)
    stored = mill.prompts(job)
    assert [row.position for row in stored] == list(range(9003))
    assert [row.batch_id for row in stored] == sorted(row.batch_id for row in stored)
    assert max(row.prompts for row in mill.batches(job)) <= batch_size


def test_a_batch_ends_where_its_rows_become_many_bytes_or_outputs(mill: Mill) -> None:
    long = [PromptRow(position=i, prompt="x" * 2**20, n=1) for i in range(9)]
    assert [row.prompts for row in mill.batches(mill.submit(long, batch_size=256))] == [4, 4, 1]
    settings = {"bad_words": ["w" * 1000] * 1000}
    said = [PromptRow(position=i, prompt="a", n=1, settings=settings) for i in range(6)]
    assert [row.prompts for row in mill.batches(mill.submit(said, batch_size=256))] == [5, 1]
    many = mill.submit([PromptRow(position=i, prompt="a", n=1000) for i in range(20)], batch_size=256)
    assert [row.prompts for row in mill.batches(many)] == [17, 3]


def test_prompts_taken_up_again_are_batched_by_their_bytes_too(mill: Mill) -> None:
    long = [PromptRow(position=i, prompt="x" * 2**20, n=1) for i in range(9)]
    job = mill.submit(long, batch_size=256)
    cancel_job(mill.database, job)
    retry_job(mill.database, job)
    assert sorted(row.prompts for row in mill.batches(job) if row.prompts) == [1, 4, 4]


@pytest.mark.parametrize("batch_size", [0, -1, 10_001])
def test_a_batch_size_out_of_range_is_wrong_use(database: Database, batch_size: int) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        Ingest(database, replace(SPEC, batch_size=batch_size))
    assert list_jobs(database) == []


def test_a_job_reads_back_as_it_was_submitted(mill: Mill) -> None:
    settings = SamplingSettings(
        n=3, temperature=0.7, top_k=0, bad_words=("ä", "b"), logit_bias=((50256, -100.0),), stop=("\n",), seed=5
    )
    job = get_job(mill.database, mill.submit(
        name="naïve prompts.jsonl", seed=2**53 - 1, settings=settings, thresholds={"toxicity": 0.25, "insult": 0.5},
        blocklist=("fool", "ärger"), on_flag="redact", device="cuda", dtype="bf16", safety="none",
    ))  # fmt: skip
    assert (job.name, job.seed, job.settings) == ("naïve prompts.jsonl", 2**53 - 1, settings)
    assert (job.thresholds, job.blocklist) == ({"toxicity": 0.25, "insult": 0.5}, ("fool", "ärger"))
    assert (job.on_flag, job.device, job.dtype, job.safety) == ("redact", "cuda", "bf16", "none")
    assert (job.status, job.started_at, job.finished_at) == (JobStatus.QUEUED, None, None)


def test_nothing_can_be_claimed_before_the_last_prompt_is_written(mill: Mill) -> None:
    ingest = Ingest(mill.database, SPEC)
    ingest.write(rows(5))
    batch = mill.batches(ingest.job_id)[0].id
    assert claim_generation(mill.database, ABILITY, LEASE) is None
    assert claim_generation(mill.database, ABILITY, LEASE, hint=batch) is None
    assert waiting_generation(mill.database, ABILITY) == []
    assert unfinished_jobs(mill.database) == []
    assert find_job(mill.database, SPEC.fingerprint) is None
    ingest.finish()
    assert len(waiting_generation(mill.database, ABILITY)) == 3
    assert find_job(mill.database, SPEC.fingerprint) == get_job(mill.database, ingest.job_id)


def test_a_job_without_prompts_is_complete_at_once(mill: Mill) -> None:
    job = mill.submit(0)
    finish_jobs(mill.database)
    assert mill.status(job) == JobStatus.COMPLETED
    assert get_job(mill.database, job).finished_at is not None


def test_the_same_submission_again_is_refused_with_the_first_ones_id(mill: Mill) -> None:
    first = Ingest(mill.database, SPEC)
    first.write(rows(3))
    first.finish()
    with pytest.raises(DuplicateJob) as caught:
        Ingest(mill.database, SPEC)
    assert caught.value.job_id == first.job_id
    mill.work_off()
    with pytest.raises(DuplicateJob):
        Ingest(mill.database, SPEC)
    assert count(mill.database, Job) == 1


def test_again_makes_a_second_job(mill: Mill) -> None:
    first = Ingest(mill.database, SPEC).finish()
    second = Ingest(mill.database, SPEC, again=True).finish()
    third = Ingest(mill.database, SPEC, again=True).finish()
    assert len({first, second, third}) == 3
    found = find_job(mill.database, SPEC.fingerprint)
    assert found is not None and found.id == third
    with pytest.raises(DuplicateJob) as caught:
        Ingest(mill.database, SPEC)
    assert caught.value.job_id == first


def test_after_a_large_submission_the_server_knows_how_many_prompts_a_batch_has(mill: Mill) -> None:
    """By itself PostgreSQL finds out within a minute, and takes batches for thousands of prompts until then."""
    if mill.database.sqlite:
        return  # it plans without counting
    mill.submit(CHUNK_ROWS, batch_size=256)
    with mill.database.read() as connection:
        known = "SELECT n_distinct FROM pg_stats WHERE tablename = 'prompts' AND attname = 'batch_id'"
        assert connection.exec_driver_sql(known).scalar() == CHUNK_ROWS / 256


def test_a_large_submission_ends_although_its_tables_are_being_vacuumed(mill: Mill) -> None:
    """What a vacuum holds for hours is no reason to keep a producer."""
    if mill.database.sqlite:
        return  # it has no such locks
    with mill.database.write() as vacuuming:
        vacuuming.exec_driver_sql("LOCK TABLE batches IN SHARE UPDATE EXCLUSIVE MODE")
        job = mill.submit(CHUNK_ROWS, batch_size=256)
    assert mill.status(job) == JobStatus.QUEUED


def test_an_abandoned_submission_leaves_nothing(mill: Mill) -> None:
    kept = mill.submit(4)
    ingest = Ingest(mill.database, replace(SPEC, batch_size=1))
    ingest.write(rows(200))
    ingest.abandon()
    assert [job.id for job in list_jobs(mill.database)] == [kept]
    assert count(mill.database, Batch) == 2
    assert count(mill.database, Prompt) == 4
    Ingest(mill.database, SPEC).finish()  # and stands in nobody's way


def test_a_complete_job_cannot_be_abandoned(mill: Mill) -> None:
    ingest = Ingest(mill.database, SPEC)
    ingest.write(rows(4))
    job = ingest.finish()
    ingest.abandon()
    assert len(mill.prompts(job)) == 4


def test_a_failing_source_leaves_whole_batches_that_can_be_abandoned(mill: Mill) -> None:
    def failing() -> Any:
        yield from rows(20_000)
        raise RuntimeError("the file ended in the middle of a line")

    ingest = Ingest(mill.database, SPEC)
    with pytest.raises(RuntimeError):
        ingest.write(failing())
    mill.assert_counters()
    ingest.abandon()
    assert count(mill.database, Prompt) == 0


def test_the_creation_time_is_the_databases(mill: Mill) -> None:
    assert abs(get_job(mill.database, mill.submit()).created_at - time.time()) < 60
