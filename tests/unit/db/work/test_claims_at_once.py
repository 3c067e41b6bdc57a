"""Many workers at once: every batch is claimed once, every job ends, every counter is right."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event

from contract.spec import JobStatus
from db.jobs.reflag import reflag_job
from db.work.claims import Claim, claim_generation, finish_scoring, renew_claims
from db.work.lease import PolicyChanged
from db.work.recovery import sweep
from tests.unit.db.mill import ABILITY, LEASE, Mill, together, worker

ROOT = Path(__file__).parents[4]
WORKER = """
import sys
from db.session.engine import open_database
from tests.unit.db.mill import Mill, worker
mill = Mill(open_database(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(mill.work_off(worker(sys.argv[2])))
"""


def test_threads_that_claim_at_once_get_every_batch_exactly_once(mill: Mill) -> None:
    job = mill.submit(80)

    def all_of(name: str) -> Callable[[], list[Claim]]:
        def claiming() -> list[Claim]:
            claims = []
            hint = mill_hint
            while (claim := claim_generation(mill.database, worker(name), LEASE, hint=hint)) is not None:
                claims.append(claim)
            return claims

        return claiming

    mill_hint = mill.batches(job)[0].id
    results = together([all_of(f"w{i}") for i in range(8)])
    claimed = [claim.batch_id for claims in results if isinstance(claims, list) for claim in claims]
    assert sorted(claimed) == [row.id for row in mill.batches(job)], results


def test_processes_that_work_at_once_do_every_batch_exactly_once(mill: Mill) -> None:
    jobs = [mill.submit(40, n=2), mill.submit(20, safety="none"), mill.submit(20, n=3)]
    url = mill.database.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, url, f"w{i}"], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for i in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(claimed) >= 20 + 10 + 10  # scoring may be claimed in a round that another worker's finish opened
    mill.work_off()
    assert [mill.status(job) for job in jobs] == [JobStatus.COMPLETED] * 3
    assert [len(mill.outputs(job)) for job in jobs] == [80, 20, 60]


def test_two_last_batches_that_end_at_the_same_moment_complete_their_job(mill: Mill) -> None:
    for _ in range(10):
        job = mill.submit(4)
        for _ in range(2):
            mill.finish(mill.claim())
        claims = [mill.claim_texts(), mill.claim_texts()]
        for claim in claims:
            mill.score(claim)
        barrier = threading.Barrier(2)

        def end(claim: Claim, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            finish_scoring(mill.database, claim)

        assert together([lambda c=claim: end(c) for claim in claims]) == [None, None]  # type: ignore[misc]
        assert mill.status(job) == JobStatus.COMPLETED


def test_a_job_that_another_revision_adopts_meanwhile_is_not_claimed(mill: Mill) -> None:
    """Between finding a batch and claiming it, another worker settles who serves the job."""
    if mill.database.sqlite:
        return  # one writer at a time
    job = mill.submit(4)
    other = worker("worker-2", revision="rev-2")
    raced: list[Claim | None] = []

    def after_the_batch_was_found(conn: object, cursor: object, statement: str, *_: object) -> None:
        if "FOR UPDATE" in statement and not raced:
            raced.append(None)
            raced[0] = claim_generation(mill.database, other, LEASE)

    event.listen(mill.database.engine, "after_cursor_execute", after_the_batch_was_found)
    try:
        late = claim_generation(mill.database, ABILITY, LEASE)
    finally:
        event.remove(mill.database.engine, "after_cursor_execute", after_the_batch_was_found)
    assert raced[0] is not None
    assert late is None
    assert [row.worker for row in mill.batches(job)] == [None, "worker-2"]


def test_renewing_sweeping_scoring_and_reflagging_at_once_lock_nobody_out(mill: Mill) -> None:
    job = mill.submit(64, n=2)
    while claim_generation(mill.database, ABILITY, LEASE, hint=None) is not None:
        pass
    with mill.database.read() as connection:
        held = connection.exec_driver_sql("SELECT id, lease_token FROM batches ORDER BY id").all()
    claims = [Claim(batch_id=row[0], job_id=job, token=row[1], alone=False) for row in held]
    for claim in claims:
        mill.finish(claim)
    scoring = [mill.claim_texts() for _ in claims]

    def renewing() -> None:
        for _ in range(15):
            renew_claims(mill.database, scoring[::-1], LEASE)

    def reflagging() -> None:
        for threshold in (0.05, 0.9, 0.05, 0.9):
            reflag_job(mill.database, job, thresholds={"toxicity": threshold}, blocklist=("text",))

    def ending(some: list[Claim]) -> Callable[[], None]:
        def end() -> None:
            for claim in some:
                try:
                    mill.finish_texts(claim)
                except PolicyChanged:  # the blocklist is set once: the second try finds it
                    mill.finish_texts(claim)

        return end

    def sweeping() -> None:
        for _ in range(15):
            sweep(mill.database)

    results = together([renewing, reflagging, reflagging, sweeping, ending(scoring[:16]), ending(scoring[16:])])
    assert results == [None] * 6
    assert mill.status(job) == JobStatus.COMPLETED
