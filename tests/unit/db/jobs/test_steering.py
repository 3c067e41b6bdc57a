"""Cancelling, retrying and failing jobs: the states of the plan, and no other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import select, update

from contract.errors import UsageError
from contract.failures import FailureCode
from contract.spec import BatchStatus, JobStatus
from db.jobs import requeue
from db.jobs.jobs import assign_owner, cancel_job, fail_job, get_job, list_jobs, unfinished_jobs
from db.jobs.requeue import requeue_prompts
from db.jobs.retry import Retried, requeue_job, retry_job
from db.jobs.status import snapshot
from db.models import Output, Prompt
from db.work.batches import cancel_free_batches
from db.work.claims import Claim, claim_generation, finish_generation, finish_scoring, release_claim, waiting_generation
from db.work.outputs import give_up_scoring, record_fault, texts_to_score
from db.work.recovery import sweep, unfinished_retries
from tests.unit.db.mill import ABILITY, LEASE, Mill, rows, text_of, together, worker

P, G, GD, S, D, C = (
    BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING, BatchStatus.DONE,
    BatchStatus.CANCELLED,
)  # fmt: skip


def kill(mill: Mill, claim: Claim, *positions: int) -> None:
    """Lets some prompts of a claimed batch die."""
    for row in mill.prompts(claim.job_id):
        if row.position in positions:
            record_fault(mill.database, claim, row.id, "it cannot be generated", number=1, certain=True)


def test_cancelling_what_nobody_holds_ends_the_job_at_once(mill: Mill) -> None:
    job = mill.submit(300)
    other = mill.submit(2)
    cancel_job(mill.database, job)
    assert mill.status(job) == JobStatus.CANCELLED
    assert set(mill.states(job)) == {C}
    assert set(mill.prompt_states(job)) == {"cancelled"}
    assert get_job(mill.database, job).finished_at is not None
    assert mill.status(other) == JobStatus.QUEUED


def test_cancelling_leaves_what_a_live_lease_holds_to_its_worker(mill: Mill) -> None:
    job = mill.submit(8)
    held, expired = mill.claim(), mill.claim()
    mill.finish(mill.claim())
    mill.expire(expired)
    cancel_job(mill.database, job)
    assert mill.states(job) == [G, C, GD, C]
    assert mill.status(job) == JobStatus.CANCELLING
    cancel_job(mill.database, job)  # twice does no harm
    release_claim(mill.database, held)
    assert mill.states(job) == [C, C, GD, C]
    mill.finish_texts(mill.claim_texts())
    assert mill.status(job) == JobStatus.CANCELLED
    assert mill.prompt_states(job) == ["cancelled"] * 4 + ["done"] * 2 + ["cancelled"] * 2


def test_a_batch_that_is_finished_while_its_job_is_cancelling_is_kept(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    cancel_job(mill.database, job)
    mill.finish(claim)
    assert mill.status(job) == JobStatus.CANCELLING
    mill.finish_texts(mill.claim_texts())
    assert (mill.states(job), mill.status(job)) == ([D], JobStatus.CANCELLED)


def test_stored_texts_of_a_cancelled_batch_are_scored(mill: Mill) -> None:
    job = mill.submit(3, n=2, batch_size=3)
    claim = mill.claim()
    mill.generate(claim, 3)  # the first prompt is complete, the second half so
    cancel_job(mill.database, job)
    release_claim(mill.database, claim)
    assert mill.states(job) == [GD]
    assert mill.prompt_states(job) == ["pending", "cancelled", "cancelled"]
    mill.finish_texts(mill.claim_texts())
    assert mill.prompt_states(job) == ["done", "cancelled", "cancelled"]
    assert [row.safety for row in mill.outputs(job)] == ["scored"] * 3
    assert mill.status(job) == JobStatus.CANCELLED


def test_without_a_classifier_a_cancelled_batch_with_texts_is_done(mill: Mill) -> None:
    job = mill.submit(2, safety="none")
    claim = mill.claim()
    mill.generate(claim, 1)
    cancel_job(mill.database, job)
    release_claim(mill.database, claim)
    assert (mill.states(job), mill.status(job)) == ([D], JobStatus.CANCELLED)
    assert mill.prompt_states(job) == ["done", "cancelled"]


def test_dead_prompts_stay_dead_when_their_job_is_cancelled(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    kill(mill, claim, 0)
    cancel_job(mill.database, job)
    release_claim(mill.database, claim)
    assert (mill.states(job), mill.prompt_states(job)) == ([C], ["dead", "cancelled"])


def test_a_job_is_failed_by_its_owner_alone_and_a_retry_may_hand_it_on(mill: Mill) -> None:
    job = mill.submit(2, owner="home-a")
    assert not fail_job(mill.database, job, "no model here", owner="home-b")
    assert not fail_job(mill.database, job, "no model here")
    assign_owner(mill.database, job, "home-b")  # of no effect while it is under way
    assert mill.status(job) == JobStatus.QUEUED
    assert fail_job(mill.database, job, "no model", owner="home-a")
    assign_owner(mill.database, job, "home-b")
    retry_job(mill.database, job)
    assert not fail_job(mill.database, job, "no model", owner="home-a")
    assert fail_job(mill.database, job, "no model", owner="home-b")


@pytest.mark.parametrize("state", ["completed", "cancelled", "failed"])
def test_a_job_that_is_over_cannot_be_cancelled(mill: Mill, state: str) -> None:
    job = mill.submit(2)
    if state == "completed":
        mill.work_off()
    elif state == "cancelled":
        cancel_job(mill.database, job)
    else:
        fail_job(mill.database, job, "no model")
    with pytest.raises(UsageError, match=f"is already {state}"):
        cancel_job(mill.database, job)
    assert mill.status(job) == state


@pytest.mark.parametrize("act", [cancel_job, retry_job, get_job, snapshot])
def test_an_unknown_job_is_named(mill: Mill, act: object) -> None:
    assert callable(act)
    with pytest.raises(UsageError, match="there is no job 4711"):
        act(mill.database, 4711)


def test_a_job_that_completes_while_it_is_being_cancelled_stays_completed(mill: Mill) -> None:
    for _ in range(8):
        job = mill.submit(2, safety="none")
        claim = mill.claim()
        mill.generate(claim)
        barrier = threading.Barrier(2)

        def finish(claim: Claim = claim, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            finish_generation(mill.database, claim)

        def cancel(job: int = job, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            cancel_job(mill.database, job)

        finished, cancelled = together([finish, cancel])
        assert finished is None
        status = mill.status(job)
        assert status == (JobStatus.COMPLETED if isinstance(cancelled, UsageError) else JobStatus.CANCELLED)


def test_claiming_and_cancelling_at_once_leave_no_batch_behind(mill: Mill) -> None:
    for _ in range(4):
        job = mill.submit(40)
        claims: list[Claim] = []

        def claiming(name: str, claims: list[Claim] = claims) -> None:
            while (claim := claim_generation(mill.database, worker(name), LEASE)) is not None:
                claims.append(claim)

        def cancelling(job: int = job) -> None:
            cancel_job(mill.database, job)

        results = together([lambda: claiming("w1"), cancelling, lambda: claiming("w2")])  # type: ignore[list-item]
        assert results == [None] * 3
        for claim in claims:
            release_claim(mill.database, claim)
        cancel_free_batches(mill.database, job)
        assert set(mill.states(job)) == {C}
        assert mill.status(job) == JobStatus.CANCELLED


def test_retrying_generates_only_what_is_missing(mill: Mill) -> None:
    job = mill.submit(4, n=2)
    claim = mill.claim()
    missing = mill.missing(claim)
    mill.save(claim, [text_of(work, index) for work, index in missing[:3]])
    kill(mill, claim, 1)  # it has one of its two outputs
    finish_generation(mill.database, claim)
    cancel_job(mill.database, job)
    mill.finish_texts(mill.claim_texts())
    assert mill.prompt_states(job) == ["done", "dead", "cancelled", "cancelled"]
    kept = mill.outputs(job)
    assert retry_job(mill.database, job) == Retried(prompts=3, texts=0)
    assert (mill.status(job), get_job(mill.database, job).finished_at) == (JobStatus.QUEUED, None)
    assert [(row.status, row.faults, row.reason) for row in mill.prompts(job)[1:]] == [("pending", 0, None)] * 3
    mill.assert_counters()
    again = []
    while (claim := claim_generation(mill.database, ABILITY, LEASE)) is not None:  # type: ignore[assignment]
        again += [(work.position, index) for work, index in mill.missing(claim)]
        mill.finish(claim)
    assert again == [(1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED
    assert mill.prompt_states(job) == ["done"] * 4
    found = mill.outputs(job)
    assert [(row.position, row.sample_index) for row in found] == [(p, i) for p in range(4) for i in range(2)]
    assert found[:3] == kept


def test_a_retried_prompt_has_three_faults_again(mill: Mill) -> None:
    job = mill.submit(1)
    prompt = mill.prompts(job)[0].id
    for attempt in range(2):
        claim = mill.claim()
        assert [
            record_fault(mill.database, claim, prompt, "fails", number=number, certain=False) for number in (1, 2, 3)
        ][-1]
        finish_generation(mill.database, claim)
        assert mill.status(job) == JobStatus.COMPLETED
        if not attempt:
            retry_job(mill.database, job)


def test_more_prompts_than_a_batch_holds_are_retried_in_batches(mill: Mill) -> None:
    job = mill.submit(50, batch_size=8)
    cancel_job(mill.database, job)
    assert retry_job(mill.database, job).prompts == 50
    pending = [row for row in mill.batches(job) if row.status == P]
    assert [row.prompts for row in pending] == [8] * 6 + [2]
    assert [row.batch_id for row in mill.prompts(job)] == [pending[i // 8].id for i in range(50)]
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED


def test_unscored_texts_are_scored_again_and_nothing_is_generated(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    give_up_scoring(mill.database, claim, texts_to_score(mill.database, claim)[0].output_id)
    mill.finish_texts(claim)
    mill.finish_texts(mill.claim_texts())
    assert mill.prompt_states(job) == ["done"] * 4
    assert retry_job(mill.database, job) == Retried(prompts=0, texts=1)
    mill.assert_counters()
    assert mill.states(job) == [GD, D]
    assert mill.prompt_states(job) == ["pending", "done", "done", "done"]  # done means settled
    row = mill.outputs(job)[0]
    assert (row.safety, row.flagged, row.flag_reasons, row.score_faults) == ("waiting", False, None, 0)
    assert waiting_generation(mill.database, ABILITY) == []
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED
    assert [row.safety for row in mill.outputs(job)] == ["scored"] * 4
    assert mill.prompt_states(job) == ["done"] * 4


def test_a_retried_prompt_takes_its_unscored_texts_along(mill: Mill) -> None:
    job = mill.submit(1, n=2)
    claim = mill.claim()
    mill.generate(claim, 1)
    kill(mill, claim, 0)
    finish_generation(mill.database, claim)
    scoring = mill.claim_texts()
    give_up_scoring(mill.database, scoring, texts_to_score(mill.database, scoring)[0].output_id)
    mill.finish_texts(scoring)
    assert retry_job(mill.database, job) == Retried(prompts=1, texts=1)
    mill.work_off()
    assert [row.safety for row in mill.outputs(job)] == ["scored"] * 2
    assert (mill.status(job), mill.prompt_states(job)) == (JobStatus.COMPLETED, ["done"])


def test_retrying_a_completed_job_with_nothing_wrong_changes_nothing(mill: Mill) -> None:
    job = mill.submit(2)
    mill.work_off()
    before = get_job(mill.database, job)
    assert retry_job(mill.database, job) == Retried(0, 0)
    assert get_job(mill.database, job) == before


def test_a_failed_job_keeps_what_it_has_and_is_queued_again_by_a_retry(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    fail_job(mill.database, job, "the model\0cannot be loaded")
    row = get_job(mill.database, job)
    assert (row.status, row.error) == (JobStatus.FAILED, "the model\ufffdcannot be loaded")
    assert row.finished_at is not None
    assert mill.states(job) == [GD, P]
    assert retry_job(mill.database, job) == Retried(0, 0)
    row = get_job(mill.database, job)
    assert (row.status, row.error, row.finished_at) == (JobStatus.QUEUED, None, None)
    mill.work_off()
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_job_whose_last_batches_ended_after_it_failed_is_completed_by_a_retry(mill: Mill) -> None:
    job = mill.submit(2, safety="none")
    claim = mill.claim()
    fail_job(mill.database, job, "no model")
    mill.finish(claim)
    assert mill.status(job) == JobStatus.FAILED
    retry_job(mill.database, job)
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_job_that_was_cancelled_when_all_its_texts_were_there_is_completed_by_a_retry(mill: Mill) -> None:
    """Nothing of it is cancelled: `run` would else say for ever that it was, with nothing to be done about it."""
    job = mill.submit(2)
    mill.finish(mill.claim())
    cancel_job(mill.database, job)
    mill.finish_texts(mill.claim_texts())
    assert (mill.status(job), mill.prompt_states(job)) == (JobStatus.CANCELLED, ["done"] * 2)
    assert retry_job(mill.database, job) == Retried(0, 0)
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_retry_of_one_code_leaves_a_cancelled_job_cancelled(mill: Mill) -> None:
    job = mill.submit(2)
    cancel_job(mill.database, job)
    assert retry_job(mill.database, job, code=FailureCode.TOO_LONG) == Retried(0, 0)
    assert mill.status(job) == JobStatus.CANCELLED


def test_prompts_that_died_in_a_batch_still_under_way_are_left_to_it(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    kill(mill, claim, 0)
    fail_job(mill.database, job, "no model")
    assert retry_job(mill.database, job).prompts == 0
    mill.finish(claim)
    mill.work_off()
    assert retry_job(mill.database, job).prompts == 1


@pytest.mark.parametrize("state", ["completed", "cancelled", "failed"])
def test_a_job_that_is_over_cannot_fail(mill: Mill, state: str) -> None:
    job = mill.submit(2)
    if state == "completed":
        mill.work_off()
    elif state == "cancelled":
        cancel_job(mill.database, job)
    else:
        fail_job(mill.database, job, "the first reason")
    before = get_job(mill.database, job)
    fail_job(mill.database, job, "another reason")
    assert get_job(mill.database, job) == before


def test_a_job_under_way_is_not_retried(mill: Mill) -> None:
    job = mill.submit(4)
    with pytest.raises(UsageError, match="queued; only a job that is over can be retried"):
        retry_job(mill.database, job)
    claim = mill.claim()
    with pytest.raises(UsageError, match="running"):
        retry_job(mill.database, job)
    cancel_job(mill.database, job)
    for any_worker in (False, True):
        with pytest.raises(UsageError, match="cancelling"):
            retry_job(mill.database, job, any_worker=any_worker)
    release_claim(mill.database, claim)
    assert mill.status(job) == JobStatus.CANCELLED


def test_any_worker_clears_what_ties_a_job_to_some_and_disturbs_no_work(mill: Mill) -> None:
    job = mill.submit(6, device="cuda", dtype="bf16")
    gpu = worker("gpu", device="cuda:0", dtype="bf16")
    claim = mill.claim(gpu)
    kill(mill, claim, 0)
    assert retry_job(mill.database, job, any_worker=True) == Retried(0, 0)
    row = get_job(mill.database, job)
    assert (row.device, row.dtype, row.served_revision, row.served_dtype) == ("auto", "auto", None, None)
    assert row.status == JobStatus.RUNNING
    other = mill.claim(worker("cpu", revision="rev-9"))
    mill.finish(claim)
    mill.finish(other)
    assert get_job(mill.database, job).served_revision == "rev-9"


def test_any_worker_retries_a_job_that_is_over(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    kill(mill, claim, 0, 1)
    finish_generation(mill.database, claim)
    assert claim_generation(mill.database, worker("w", revision="rev-2"), LEASE) is None
    assert retry_job(mill.database, job, any_worker=True).prompts == 2
    mill.claim(worker("w", revision="rev-2"))


def test_a_retry_that_died_half_way_is_carried_on_by_the_next(mill: Mill) -> None:
    job = mill.submit(6)
    cancel_job(mill.database, job)
    requeue_prompts(mill.database, get_job(mill.database, job))  # after which the command was killed
    assert mill.status(job) == JobStatus.CANCELLED
    assert unfinished_retries(mill.database) == {job: len(mill.batches(job)) - 3}
    retry_job(mill.database, job)
    assert mill.status(job) == JobStatus.QUEUED
    assert unfinished_retries(mill.database) == {}
    mill.work_off()
    assert (mill.status(job), mill.prompt_states(job)) == (JobStatus.COMPLETED, ["done"] * 6)


def test_a_retry_that_died_between_two_batches_leaves_a_job_that_can_be_retried(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = mill.submit(6)
    cancel_job(mill.database, job)
    moves = iter([requeue._move_to_new_batch])  # the second one is where the command is killed
    monkeypatch.setattr(requeue, "_move_to_new_batch", lambda *of: next(moves)(*of))
    with pytest.raises(StopIteration):
        retry_job(mill.database, job)
    monkeypatch.undo()
    requeue_job(mill.database, job)  # as the sweeper does, after a minute
    mill.work_off()
    assert mill.prompt_states(job) == ["done"] * 2 + ["cancelled"] * 4
    assert mill.status(job) == JobStatus.CANCELLED, "a completed one would be exported as if it were whole"
    assert retry_job(mill.database, job).prompts == 4
    mill.work_off()
    assert (mill.status(job), mill.prompt_states(job)) == (JobStatus.COMPLETED, ["done"] * 6)


def test_a_text_that_a_second_retry_takes_up_while_its_batch_is_scored_is_scored_too(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    for text in texts_to_score(mill.database, claim):
        give_up_scoring(mill.database, claim, text.output_id)
    mill.finish_texts(claim)
    with mill.database.read() as connection:
        first, second = connection.execute(
            select(Output.id, Output.prompt_id, Prompt.batch_id).join(Prompt, Prompt.id == Output.prompt_id)
        ).all()

    def take_up(row: Any) -> None:
        with mill.database.write() as connection:
            requeue._wait_for_scores(connection, [row])

    take_up(first)  # the one that the other retry holds is passed over
    requeue_job(mill.database, job)
    claim = mill.claim_texts()
    mill.score(claim)
    take_up(second)
    finish_scoring(mill.database, claim)
    assert mill.states(job) == [GD]
    mill.work_off()
    assert [row.safety for row in mill.outputs(job)] == ["scored"] * 2
    assert (mill.status(job), mill.prompt_states(job)) == (JobStatus.COMPLETED, ["done"] * 2)


def test_retries_at_once_take_every_prompt_up_once(mill: Mill) -> None:
    job = mill.submit(120, batch_size=10)
    cancel_job(mill.database, job)
    results = together([lambda: retry_job(mill.database, job)] * 4)
    taken = sum(result.prompts for result in results if isinstance(result, Retried))
    assert taken == 120, results
    assert all(isinstance(result, Retried | UsageError) for result in results), results
    mill.assert_counters()
    mill.work_off()
    assert (mill.status(job), len(mill.outputs(job))) == (JobStatus.COMPLETED, 120)


def test_jobs_are_listed_newest_first_and_unfinished_ones_oldest_first(mill: Mill) -> None:
    jobs = [mill.submit(rows(1)) for _ in range(4)]
    cancel_job(mill.database, jobs[1])
    assert [job.id for job in list_jobs(mill.database)] == jobs[::-1]
    assert [job.id for job in list_jobs(mill.database, 2)] == jobs[:1:-1]
    assert [job.id for job in unfinished_jobs(mill.database)] == [jobs[0], jobs[2], jobs[3]]


def test_settings_that_cannot_be_used_any_more_do_not_hide_the_job(mill: Mill) -> None:
    """A row's stored settings are read by whoever generates it; a job's own by everybody."""
    job = mill.submit(1)
    with mill.database.write() as connection:
        connection.execute(update(Prompt).where(Prompt.job_id == job).values(settings={"temperature": -5}))
    claim = mill.claim()
    assert mill.missing(claim)[0][0].settings == {"temperature": -5}
    mill.expire(claim)
    sweep(mill.database)
