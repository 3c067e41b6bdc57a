"""A job's figures: true at every moment, and cheap however large the job is."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from sqlalchemy import delete, insert, text, update

from contract.spec import JobStatus
from db.insights.arrivals import Arrivals, read_arrivals, sampled_times
from db.insights.pace import FollowedPace, Pace, read_pace
from db.jobs.jobs import cancel_job
from db.jobs.status import _UNDECIDED, snapshot, snapshots
from db.jobs.waiting import waiting_for
from db.models import Batch, Job, Output, Prompt, Score, Worker
from db.review.decisions.acts import decide
from db.session.engine import now
from db.work.claims import finish_generation
from db.work.outputs import ScoredText, record_fault, texts_to_score
from db.work.workers import get_worker, list_workers, record_heartbeat, register_worker
from tests.unit.db.mill import Mill


def test_a_fresh_job_shows_what_it_asks_for(mill: Mill) -> None:
    job = snapshot(mill.database, mill.submit(5, n=3))
    assert (job.prompts, job.outputs, job.generated, job.settled) == (5, 15, 0, 0)
    assert (job.to_generate, job.to_score, job.in_hand) == (3, 0, 0)
    assert (job.status, job.seconds, job.texts_to_write, job.texts_to_score) == (JobStatus.QUEUED, 0.0, 15, 15)
    assert not job.finished


def test_figures_follow_the_work(mill: Mill) -> None:
    job = mill.submit(6, n=2)
    mill.finish(mill.claim())
    mill.generate(mill.claim(), 1)
    shown = snapshot(mill.database, job)
    assert (shown.generated, shown.scored, shown.settled) == (5, 0, 0)
    assert (shown.to_generate, shown.to_score, shown.in_hand) == (1, 1, 1)
    # Tokens are position + sample index + 1, three for each prompt that has its first sample.
    assert (shown.generated_tokens, shown.prompt_tokens) == (1 + 2 + 2 + 3 + 3, 9)
    assert (shown.texts_to_write, shown.texts_to_score, shown.batch_texts, shown.batches_writing) == (7, 12, 4, 1)
    mill.finish_texts(mill.claim_texts(), toxicity=0.9)
    shown = snapshot(mill.database, job)
    assert (shown.scored, shown.flagged, shown.pending_review, shown.done) == (4, 4, 4, 2)
    assert (shown.texts_to_write, shown.texts_to_score) == (7, 8)


def test_a_decided_output_is_no_longer_pending_review(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    mill.finish_texts(mill.claim_texts(), toxicity=0.9)
    decide(mill.database, mill.outputs(job)[0].id, "anna", "approve")
    shown = snapshot(mill.database, job)
    assert (shown.flagged, shown.pending_review) == (2, 1)


def test_failures_are_counted_by_reason_the_most_frequent_first(mill: Mill) -> None:
    job = mill.submit(8, batch_size=4)
    claims = [mill.claim(), mill.claim()]
    by_batch = {claim.batch_id: claim for claim in claims}
    reasons = ["too long", "not a number", "too long", "too long"]
    for row, reason in zip(mill.prompts(job)[2:], reasons, strict=False):
        record_fault(mill.database, by_batch[row.batch_id], row.id, reason, number=1, certain=True)
    shown = snapshot(mill.database, job)
    assert shown.dead == 4
    assert list(shown.failures.items()) == [("too long", 3), ("not a number", 1)]


def test_a_very_long_reason_is_cut(mill: Mill) -> None:
    job = mill.submit(1)
    record_fault(mill.database, mill.claim(), mill.prompts(job)[0].id, "x" * 100_000, number=1, certain=True)
    assert len(next(iter(snapshot(mill.database, job).failures))) < 2000


def test_a_finished_job_has_no_estimate_and_its_time_stands_still(mill: Mill) -> None:
    job = mill.submit(2)
    mill.work_off()
    first = snapshot(mill.database, job)
    time.sleep(0.05)
    second = snapshot(mill.database, job)
    assert second.finished and second.seconds == first.seconds > 0
    paces = [read_pace(mill.database, job) for job in (first, second)]
    assert paces[0] == paces[1] and paces[0].time_left is None
    assert paces[0].tokens_per_second == paces[0].average > 0


def test_the_texts_left_are_without_those_of_dead_prompts(mill: Mill) -> None:
    job = mill.submit(4, n=3, batch_size=4)
    record_fault(mill.database, mill.claim(), mill.prompts(job)[0].id, "too long", number=1, certain=True)
    shown = snapshot(mill.database, job)
    assert (shown.texts_to_write, shown.texts_to_score) == (9, 9)


def test_the_pace_is_read_from_when_texts_and_scores_were_stored(mill: Mill) -> None:
    job = mill.submit(120, batch_size=30)
    other = mill.submit(2, name="other.jsonl")
    for _ in range(2):
        mill.finish(mill.claim())
        mill.finish_texts(mill.claim_texts())
    _, now_at = _spread(mill, job)
    with mill.database.read() as connection:
        seen = read_arrivals(connection, job)
        times = sampled_times(connection, job)
        assert (read_arrivals(connection, other), sampled_times(connection, other)) == (Arrivals(), [])
    assert [sum(save.count for save in stage) for stage in (seen.texts, seen.scores)] == [60, 60]
    assert sum(save.tokens for save in seen.texts) == sum(range(1, 61))
    assert {save.ready for save in seen.scores} == {now_at - 31, now_at - 1}
    assert len(times) == 120 and times == sorted(times)
    shown = replace(snapshot(mill.database, job), now=now_at)
    pace = read_pace(mill.database, shown)
    assert pace.time_left is not None and pace.time_left.low <= 60 <= pace.time_left.high
    assert pace.tokens_per_second == pytest.approx(30, rel=0.2) == pace.average
    assert read_pace(mill.database, shown, waiting=True) == Pace(0.0, pace.average)


def test_batches_of_many_samples_are_read_in_part_and_count_in_full(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.insights.arrivals.NEWEST_SCORES", 40)
    job = mill.submit(8, n=30, batch_size=8)
    mill.finish(mill.claim())
    mill.finish_texts(mill.claim_texts())
    with mill.database.read() as connection:
        whole = sum(save.count for save in read_arrivals(connection, job).scores)
    assert whole == 240


def test_a_pace_that_is_followed_is_read_every_few_seconds(mill: Mill) -> None:
    job = mill.submit(120, batch_size=30)
    mill.finish(mill.claim())
    _, now_at = _spread(mill, job)
    followed = FollowedPace(mill.database)
    shown = replace(snapshot(mill.database, job), now=now_at)
    first = followed.look(shown, waiting=False)
    assert first == read_pace(mill.database, shown)
    mill.finish(mill.claim())
    later = [replace(snapshot(mill.database, job), now=now_at + seconds) for seconds in (1.9, 2.1)]
    assert followed.look(later[0], waiting=False) is first
    second = followed.look(later[1], waiting=False)
    assert second == read_pace(mill.database, later[1]) != first
    # What it waits for is said at once, and so is that a clock was set back.
    assert followed.look(later[1], waiting=True).time_left is None
    assert followed.look(later[1], waiting=False) == second
    assert followed.look(shown, waiting=False) == read_pace(mill.database, shown)


def _spread(mill: Mill, job: int) -> tuple[float, float]:
    """As if a text had been stored each second, and its score half a second after the last of its batch."""
    ids = [row.id for row in mill.outputs(job)]
    start = 1_700_000_000.0
    with mill.database.write() as connection:
        for place, output in enumerate(ids, 1):
            mine, scored = Output.id == output, Score.output_id == output
            connection.execute(update(Output).where(mine).values(created_at=start + place))
            done = start + (30 if place <= 30 else 60) + (place - 1) % 30 * 0.1 + 0.1
            connection.execute(update(Score).where(scored).values(created_at=done))
        connection.execute(update(Job).where(Job.id == job).values(started_at=start))
    return start, start + len(ids) + 1


def test_a_job_without_prompts_divides_by_nothing(mill: Mill) -> None:
    shown = snapshot(mill.database, mill.submit(0))
    assert (shown.prompts, shown.outputs, read_pace(mill.database, shown)) == (0, 0, Pace(0.0, 0.0))
    assert shown.finished


def test_snapshots_are_the_newest_jobs_first(mill: Mill) -> None:
    jobs = [mill.submit(1) for _ in range(3)]
    cancel_job(mill.database, jobs[2])
    assert [job.id for job in snapshots(mill.database)] == jobs[::-1]
    assert [job.id for job in snapshots(mill.database, limit=2)] == jobs[:0:-1]
    assert snapshots(mill.database)[0].cancelled == 1


def test_a_job_of_three_hundred_thousand_prompts_answers_fast(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """With a dead prompt in every batch, which is the dearest to sum up."""
    job = mill.submit(300_000, batch_size=256)
    with mill.database.write() as connection:
        claim_all = {"status": "done", "generated": 200, "scored": 200, "flagged": 20, "dead": 1}
        connection.execute(update(Batch).where(Batch.job_id == job).values(claim_all))
        connection.execute(
            update(Prompt).where(Prompt.job_id == job, Prompt.position % 256 == 0).values(status="dead", reason="long")
        )
    started = time.monotonic()
    shown = snapshot(mill.database, job)
    took = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{mill.database.url.get_backend_name()}: a job of 300,000 prompts shown in {took:.3f} s")
    assert (shown.prompts, shown.failures) == (300_000, {"long": 1172})
    with mill.database.write() as connection:  # its counters were made up
        connection.execute(delete(Batch).where(Batch.job_id == job))


def test_counting_the_review_queue_uses_its_index(mill: Mill) -> None:
    if not mill.database.sqlite:
        pytest.skip("PostgreSQL chooses by its statistics")
    with mill.database.read() as connection:
        query = _UNDECIDED.params(job=1).compile(mill.database.engine, compile_kwargs={"literal_binds": True})
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
    assert "USING COVERING INDEX ix_reviews_job" in str(plan)


def test_a_worker_is_alive_while_it_gives_signs_of_life(mill: Mill) -> None:
    values = {
        "host": "h", "pid": os.getpid(), "model": "demo", "dtype": "fp32", "device": "cpu", "classifiers": ["demo"],
    }  # fmt: skip
    register_worker(mill.database, "w1", state="starting", **values)
    record_heartbeat(mill.database, "w1", state="ready", revision="rev", error="a\0b", tokens_per_second=12.5)
    found = get_worker(mill.database, "w1")
    assert found is not None and found.alive
    assert (found.state, found.revision, found.error, found.classifiers) == ("ready", "rev", "a\ufffdb", ["demo"])
    assert 0 <= found.silent < 30
    for away in (60, -3600):  # the second by a clock that was set back
        with mill.database.write() as connection:
            connection.execute(update(Worker).values(last_seen=now() - away))
        silent = get_worker(mill.database, "w1")
        assert silent is not None and not silent.alive
    record_heartbeat(mill.database, "w1", state="stopped")
    stopped = get_worker(mill.database, "w1")
    assert stopped is not None and not stopped.alive
    assert get_worker(mill.database, "w2") is None


def test_workers_that_are_long_gone_are_forgotten(mill: Mill) -> None:
    old = {
        "id": "old", "host": "h", "pid": 1, "state": "ready", "model": "m", "dtype": "d", "device": "cpu",
        "classifiers": [], "started_at": 1.0, "last_seen": 1.0,
    }  # fmt: skip
    with mill.database.write() as connection:
        connection.execute(insert(Worker).values(old))
    assert [row.id for row in list_workers(mill.database)] == ["old"]
    register_worker(
        mill.database, "new", host="h", pid=1, state="starting", model="m", dtype="d", device="cpu", classifiers=[],
    )  # fmt: skip
    assert [row.id for row in list_workers(mill.database)] == ["new"]


def test_a_job_that_waits_for_one_like_the_worker_that_began_it_says_in_what_those_there_differ(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    register_worker(mill.database, "w2", host="h", pid=1, state="ready", model="demo", revision="rev-1", dtype="fp32",
             device="cpu", engine="stub 1", numerics="f0f0", threads=1, classifiers=["demo"])  # fmt: skip
    said = waiting_for(mill.database, snapshot(mill.database, job))
    assert said is not None
    assert "engine stub 1, 2 threads, numerics 0f0f" in said
    assert "the running ones differ in numerics" in said
    assert "inkmill worker --model demo --dtype fp32 --threads 2 --safety demo" in said
    assert said.endswith(f"inkmill retry {job} --any-worker")


def test_a_status_is_one_of_the_contracts(mill: Mill) -> None:
    job = mill.submit(2)
    seen = [mill.status(job)]
    claim = mill.claim()
    seen.append(mill.status(job))
    cancel_job(mill.database, job)
    seen.append(mill.status(job))
    mill.generate(claim)
    finish_generation(mill.database, claim)
    scoring = mill.claim_texts()
    verdicts = [
        ScoredText(output_id=t.output_id, scores={"toxicity": 0.1}) for t in texts_to_score(mill.database, scoring)
    ]
    mill.save_verdicts(scoring, verdicts)
    mill.finish_texts(scoring)
    seen.append(mill.status(job))
    assert seen == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING, JobStatus.CANCELLED]
    with mill.database.read() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {Job.__tablename__}")).scalar() == 1
