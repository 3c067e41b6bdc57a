"""Pausing and resuming: nothing new is claimed, nothing is lost, and the job goes on where it was."""

from __future__ import annotations

import pytest

from contract.errors import NoSuchJob, UsageError
from contract.spec import BatchStatus, JobStatus
from db.jobs.jobs import cancel_job, fail_job, get_job, pause_job, resume_job
from db.jobs.retry import Retried, retry_job
from db.jobs.status import snapshot
from db.jobs.waiting import waiting_for
from db.work.claims import (
    claim_generation,
    claim_scoring,
    release_claim,
    renew_claims,
    waiting_generation,
    waiting_scoring,
)
from db.work.recovery import finish_jobs, sweep
from tests.unit.db.mill import ABILITY, LEASE, Mill

P, G, GD, S, D = (
    BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING, BatchStatus.DONE,
)  # fmt: skip


def test_nothing_of_a_paused_job_is_claimed_until_it_is_resumed(mill: Mill) -> None:
    job = mill.submit(6)
    mill.finish(mill.claim())
    pause_job(mill.database, job)
    assert (mill.status(job), mill.states(job)) == (JobStatus.PAUSED, [GD, P, P])
    hint = mill.batches(job)[1].id
    for suspects in (False, True):
        assert claim_generation(mill.database, ABILITY, LEASE, hint=hint, suspects=suspects) is None
        assert claim_scoring(mill.database, ABILITY, LEASE, suspects=suspects) is None
    assert waiting_generation(mill.database, ABILITY) == waiting_scoring(mill.database, ABILITY) == []
    started = get_job(mill.database, job).started_at
    resume_job(mill.database, job)
    assert mill.status(job) == JobStatus.QUEUED
    mill.work_off()
    assert (mill.status(job), get_job(mill.database, job).started_at) == (JobStatus.COMPLETED, started)


def test_other_jobs_go_on_beside_a_paused_one(mill: Mill) -> None:
    paused, other = mill.submit(2), mill.submit(2)
    pause_job(mill.database, paused)
    mill.work_off()
    assert (mill.status(paused), mill.status(other)) == (JobStatus.PAUSED, JobStatus.COMPLETED)


def test_what_is_being_written_is_given_back_with_the_texts_that_are_stored(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    mill.generate(claim, 1)
    pause_job(mill.database, job)
    assert renew_claims(mill.database, [claim], LEASE) == {claim.token}
    release_claim(mill.database, claim)
    assert (mill.status(job), mill.states(job)) == (JobStatus.PAUSED, [P])
    assert set(mill.prompt_states(job)) == {"pending"}
    resume_job(mill.database, job)
    again = mill.claim()
    assert len(mill.missing(again)) == 1, "the stored text is not made again"
    assert renew_claims(mill.database, [again], LEASE) == set()


def test_what_is_being_scored_gets_its_scores(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    scoring = mill.claim_texts()
    pause_job(mill.database, job)
    assert renew_claims(mill.database, [scoring], LEASE) == set()
    mill.finish_texts(scoring)
    assert (mill.status(job), mill.states(job)) == (JobStatus.PAUSED, [D, P])


def test_a_job_whose_last_batch_ends_after_the_pause_is_complete(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    scoring = mill.claim_texts()
    pause_job(mill.database, job)
    mill.finish_texts(scoring)
    assert mill.status(job) == JobStatus.COMPLETED
    with pytest.raises(UsageError, match="already completed, not paused"):
        resume_job(mill.database, job)


def test_a_lease_that_runs_out_in_a_paused_job_waits_for_the_resume(mill: Mill) -> None:
    job = mill.submit(2)
    mill.expire(mill.claim())
    pause_job(mill.database, job)
    assert sweep(mill.database) == 1
    finish_jobs(mill.database)
    assert (mill.status(job), mill.states(job)) == (JobStatus.PAUSED, [P])


def test_a_paused_job_can_be_cancelled_and_not_failed_or_retried(mill: Mill) -> None:
    job = mill.submit(4)
    pause_job(mill.database, job)
    assert not fail_job(mill.database, job, "no model")
    with pytest.raises(UsageError, match=f"job {job} is paused; go on with it: inkmill resume {job}"):
        retry_job(mill.database, job)
    assert retry_job(mill.database, job, any_worker=True) == Retried(0, 0)
    assert mill.status(job) == JobStatus.PAUSED
    cancel_job(mill.database, job)
    assert mill.status(job) == JobStatus.CANCELLED
    with pytest.raises(UsageError, match=f"take it up again with: inkmill retry {job}"):
        resume_job(mill.database, job)


def test_only_a_job_that_works_or_waits_can_be_paused(mill: Mill) -> None:
    job = mill.submit(2)
    with pytest.raises(UsageError, match="is queued, not paused"):
        resume_job(mill.database, job)
    pause_job(mill.database, job)
    with pytest.raises(UsageError, match="is already paused; only a queued or running job can be paused"):
        pause_job(mill.database, job)
    for steer in (pause_job, resume_job):
        with pytest.raises(NoSuchJob):
            steer(mill.database, 77)


def test_a_paused_job_says_what_it_waits_for_even_with_work_in_hand(mill: Mill) -> None:
    job = mill.submit(4)
    mill.claim()
    pause_job(mill.database, job)
    assert waiting_for(mill.database, snapshot(mill.database, job)) == (
        f"somebody to resume it, because it is paused: inkmill resume {job}"
    )
