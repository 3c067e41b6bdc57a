"""Producers that die, that are slow, and that come all at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from contract.errors import DuplicateJob, InkmillError, UsageError
from contract.spec import JobStatus
from db.jobs.ingest import Ingest
from db.jobs.ingest_lease import find_ingests, lease_ran_out
from db.jobs.jobs import cancel_job, list_jobs
from db.models import Job
from db.session.engine import Database, now, open_database
from db.work.workers import record_heartbeat, register_worker
from tests.unit.db.mill import SPEC, Mill, rows, together

ROOT = Path(__file__).parents[4]
PRODUCER = """
import sys, time
from dataclasses import replace
from db.jobs.ingest import Ingest
from db.jobs.ingest_lease import find_ingests, lease_ran_out
from db.session.engine import open_database
from tests.unit.db.mill import SPEC, rows
spec, again = replace(SPEC, batch_size=256), sys.argv[3] == "again"
ingest = Ingest(open_database(sys.argv[1]), spec, again=again, lease=float(sys.argv[5]))
ingest.write(rows(int(sys.argv[2])))
print(ingest.job_id, flush=True)
time.sleep(60) if sys.argv[4] == "wait" else print(ingest.finish(), flush=True)
"""


def start_producer(
    database: Database, prompts: int, again: bool = False, wait: bool = True, lease: float = 2.0
) -> subprocess.Popen[str]:
    """A process that writes prompts of SPEC's job, and then waits or finishes."""
    url = database.url.render_as_string(hide_password=False)
    words = [url, str(prompts), "again" if again else "once", "wait" if wait else "finish", str(lease)]
    return subprocess.Popen([sys.executable, "-c", PRODUCER, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def left_by_a_killed_producer(database: Database, prompts: int = 50, again: bool = False) -> int:
    """Kills a producer after it wrote some prompts. Returns the id of the job it left half written."""
    producer = start_producer(database, prompts, again)
    assert producer.stdout is not None
    job = int(producer.stdout.readline())
    producer.send_signal(signal.SIGKILL)
    producer.wait()
    return job


def until_run_out(database: Database, job: int) -> None:
    while not find_ingests(database, Job.id == job, lease_ran_out()):
        time.sleep(0.05)


def replace_the_producer(database: Database, job: int, *, lease: float) -> None:
    """The job is another host's, whose lease lasts for so many more seconds."""
    with database.write() as connection:
        values = {"producer": "elsewhere:1:token", "ingest_until": now() + lease}
        connection.execute(update(Job).where(Job.id == job).values(values))


def test_what_a_killed_producer_left_is_replaced_by_submitting_again(mill: Mill) -> None:
    left_by_a_killed_producer(mill.database)
    ingest = Ingest(mill.database, SPEC)
    ingest.write(rows(7))
    job = ingest.finish()
    assert [found.id for found in list_jobs(mill.database)] == [job]
    assert [row.position for row in mill.prompts(job)] == list(range(7))
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED


def test_what_a_producer_killed_under_again_left_is_removed_too(mill: Mill) -> None:
    left = left_by_a_killed_producer(mill.database, again=True)
    until_run_out(mill.database, left)
    kept = Ingest(mill.database, SPEC, again=True).finish()
    jobs = {job.id: job.status for job in list_jobs(mill.database)}
    assert jobs == {kept: JobStatus.COMPLETED}, f"job {left} was left behind"


def test_what_a_killed_producer_left_can_be_cancelled(mill: Mill) -> None:
    job = left_by_a_killed_producer(mill.database)
    with pytest.raises(InkmillError, match="never fully submitted"):
        cancel_job(mill.database, job)
    assert list_jobs(mill.database) == []


def test_a_live_producer_is_not_replaced(mill: Mill) -> None:
    producer = start_producer(mill.database, 5)
    try:
        assert producer.stdout is not None
        job = int(producer.stdout.readline())
        with pytest.raises(UsageError, match=f"job {job}, by process {producer.pid}"):
            Ingest(mill.database, SPEC)
        with pytest.raises(UsageError, match="still being submitted"):
            cancel_job(mill.database, job)
        assert len(mill.prompts(job)) == 5
    finally:
        producer.kill()
        producer.wait()


def test_a_live_producer_whose_process_nobody_here_can_see_is_not_replaced(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another container of the same host name there are other process numbers."""
    unseen = f"{socket.gethostname()}:4194304"
    monkeypatch.setattr("db.jobs.ingest.new_producer", lambda: f"{unseen}:token")
    ingest = Ingest(mill.database, SPEC, lease=0.5)
    ingest.write(rows(4))
    time.sleep(1)  # it reads on, and has nothing to write for longer than its lease
    with pytest.raises(UsageError, match="still being submitted"):
        cancel_job(mill.database, ingest.job_id)
    with pytest.raises(UsageError, match="by process 4194304"):
        Ingest(mill.database, SPEC)
    assert mill.status(ingest.finish()) == JobStatus.QUEUED
    assert len(mill.prompts(ingest.job_id)) == 4


def test_a_producer_is_taken_for_dead_once_its_lease_ran_out_wherever_it_was(mill: Mill) -> None:
    ingest = Ingest(mill.database, SPEC)
    ingest.write(rows(4))
    replace_the_producer(mill.database, ingest.job_id, lease=1.0)
    started = time.monotonic()
    second = Ingest(mill.database, SPEC)
    assert 0.5 < time.monotonic() - started < 10
    second.write(rows(2))
    assert len(mill.prompts(second.finish())) == 2


def test_a_lease_that_is_renewed_while_others_look_is_not_taken(mill: Mill) -> None:
    ingest = Ingest(mill.database, SPEC)
    replace_the_producer(mill.database, ingest.job_id, lease=1.0)
    renewing = threading.Timer(0.3, replace_the_producer, (mill.database, ingest.job_id), {"lease": 5.0})
    renewing.start()
    with pytest.raises(UsageError, match="right now"):
        Ingest(mill.database, SPEC)
    renewing.join()


def test_a_job_that_is_complete_when_its_producers_lease_was_looked_at_is_cancelled_after_all(mill: Mill) -> None:
    ingest = Ingest(mill.database, SPEC, lease=60)
    ingest.write(rows(4))
    finishing = threading.Timer(0.3, ingest.finish)
    finishing.start()
    cancel_job(mill.database, ingest.job_id)
    finishing.join()
    assert mill.status(ingest.job_id) == JobStatus.CANCELLED


def test_a_producer_that_was_replaced_writes_nothing_into_the_job_that_follows(mill: Mill) -> None:
    slow = Ingest(mill.database, SPEC)
    slow.write(rows(4))
    replace_the_producer(mill.database, slow.job_id, lease=-1)
    quick = Ingest(mill.database, SPEC)  # on SQLite it has the same id
    quick.write(rows(3))
    with pytest.raises(InkmillError, match="replaced"):
        slow.write(rows(4, start=4))
    with pytest.raises(InkmillError, match="replaced"):
        slow.finish()
    slow.abandon()
    job = quick.finish()
    assert [row.position for row in mill.prompts(job)] == [0, 1, 2]
    assert [found.id for found in list_jobs(mill.database)] == [job]


def test_fifty_submissions_of_one_file_at_once_make_one_job(mill: Mill) -> None:
    def submit() -> int:
        ingest = Ingest(mill.database, SPEC)
        ingest.write(rows(5))
        return ingest.finish()

    results = together([submit] * 50)
    made = [result for result in results if isinstance(result, int)]
    refused = [result for result in results if isinstance(result, UsageError)]
    assert len(made) == 1 and len(refused) == 49, results
    assert {error.job_id for error in refused if isinstance(error, DuplicateJob)} <= set(made)
    assert [row.position for row in mill.prompts(made[0])] == list(range(5))


def test_many_submissions_that_find_a_dead_producers_job_make_one_job(mill: Mill) -> None:
    left_by_a_killed_producer(mill.database, 500)

    def submit() -> int:
        ingest = Ingest(mill.database, SPEC)
        ingest.write(rows(5))
        return ingest.finish()

    results = together([submit] * 8)
    made = [result for result in results if isinstance(result, int)]
    assert len(made) == 1, results
    assert all(isinstance(result, UsageError) for result in results if not isinstance(result, int)), results
    assert [job.id for job in list_jobs(mill.database)] == made
    assert len(mill.prompts(made[0])) == 5


def test_small_writes_go_on_while_a_large_job_is_written(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    register_worker(
        mill.database, "w", host="h", pid=os.getpid(), state="ready", model="demo", revision="r", dtype="fp32",
        device="cpu", classifiers=[],
    )  # fmt: skip
    other = open_database(mill.database.url.render_as_string(hide_password=False))
    producer = start_producer(mill.database, 200_000, wait=False)
    waits: list[float] = []
    written = threading.Event()

    def drain() -> None:
        assert producer.stdout is not None
        producer.stdout.read()
        written.set()

    reader = threading.Thread(target=drain)
    reader.start()
    while not written.is_set():
        started = time.monotonic()
        record_heartbeat(other, "w", tokens_per_second=float(len(waits)))
        waits.append(time.monotonic() - started)
        time.sleep(0.005)
    reader.join()
    other.close()
    with capsys.disabled():
        kind = "SQLite" if mill.database.sqlite else "PostgreSQL"
        print(f"\n{kind}: {len(waits)} small writes beside 200,000 prompts, the longest took {max(waits):.3f} s")
    assert producer.wait() == 0
    assert sum(row.prompts for row in mill.batches(list_jobs(mill.database)[0].id)) == 200_000
