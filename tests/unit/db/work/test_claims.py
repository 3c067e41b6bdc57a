"""Who may claim what, for how long, and what a worker that lost its claim can still do: nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from contract.spec import BatchStatus, JobStatus
from db.jobs.jobs import cancel_job, fail_job, get_job
from db.jobs.retry import retry_job
from db.models import Batch, Job
from db.work.claims import (
    claim_generation,
    claim_scoring,
    finish_generation,
    finish_scoring,
    release_claim,
    renew_claims,
    waiting_generation,
    waiting_in_job,
    waiting_scoring,
)
from db.work.lease import LeaseLost
from db.work.outputs import count_scoring_attempt, give_up_scoring, record_fault, texts_to_score
from db.work.recovery import mark_death, sweep
from tests.unit.db.mill import ABILITY, LEASE, Mill, text_of, worker

P, G, GD, S, D = (
    BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING, BatchStatus.DONE,
)  # fmt: skip


def test_the_oldest_batch_is_claimed_first(mill: Mill) -> None:
    first, second = mill.submit(4), mill.submit(4)
    claims = [mill.claim() for _ in range(4)]
    assert [claim.job_id for claim in claims] == [first, first, second, second]
    assert [claim.batch_id for claim in claims] == sorted(claim.batch_id for claim in claims)
    assert len({claim.token for claim in claims}) == 4
    assert claim_generation(mill.database, ABILITY, LEASE) is None


def test_a_hint_is_honoured(mill: Mill) -> None:
    wanted = mill.batches(mill.submit(6))[2].id
    assert mill.claim(hint=wanted).batch_id == wanted


def test_a_wrong_hint_is_harmless(mill: Mill) -> None:
    mill.submit(2, safety="none")
    done = mill.claim()
    mill.finish(done)
    foreign = mill.batches(mill.submit(2, model="other"))[0].id
    job = mill.submit(14)
    taken = mill.claim().batch_id
    for hint in (taken, done.batch_id, foreign, 0, -5, 10**15):
        claim = mill.claim(hint=hint)
        assert claim.job_id == job and claim.batch_id not in (taken, done.batch_id, foreign)


@pytest.mark.parametrize(
    ("asked", "ability"),
    [
        ({"model": "gpt2"}, {}),
        ({"dtype": "bf16"}, {}),
        ({"device": "cuda"}, {}),
        ({"device": "cuda:1"}, {"device": "cuda:0"}),
    ],
)
def test_a_worker_that_cannot_serve_a_job_claims_none_of_it(
    mill: Mill, asked: dict[str, str], ability: dict[str, str]
) -> None:
    mill.submit(2, **asked)
    assert claim_generation(mill.database, worker("w", **ability), LEASE) is None
    assert waiting_generation(mill.database, worker("w", **ability)) == []


@pytest.mark.parametrize(
    ("asked", "ability"),
    [
        ({"dtype": "bf16"}, {"dtype": "bf16"}),
        ({"device": "cuda"}, {"device": "cuda:0"}),
        ({"device": "cuda:1"}, {"device": "cuda:1"}),
        ({"device": "auto", "dtype": "auto"}, {"device": "cuda:0", "dtype": "bf16"}),
    ],
)
def test_a_worker_that_can_serve_a_job_claims_it(mill: Mill, asked: dict[str, str], ability: dict[str, str]) -> None:
    mill.submit(2, **asked)
    assert len(waiting_generation(mill.database, worker("w", **ability))) == 1
    mill.claim(worker("w", **ability))


@pytest.mark.parametrize(
    "other", [{"revision": "rev-2"}, {"dtype": "bf16"}, {"engine": "stub 2"}, {"numerics": "f0f0"}]
)
def test_the_first_claim_settles_who_serves_the_job(mill: Mill, other: dict[str, str]) -> None:
    job = mill.submit(6)
    mill.claim()
    row = get_job(mill.database, job)
    assert (row.served_revision, row.served_dtype, row.status) == ("rev-1", "fp32", JobStatus.RUNNING)
    assert row.started_at is not None
    assert claim_generation(mill.database, worker("w", **other), LEASE) is None
    mill.claim(worker("w2"))
    retry_job(mill.database, job, any_worker=True)
    mill.claim(worker("w3", **other))


def test_a_worker_with_other_threads_that_computes_the_same_takes_part(mill: Mill) -> None:
    job = mill.submit(6)
    mill.claim()
    mill.claim(worker("w2", threads=1))
    assert get_job(mill.database, job).served_threads == 2


def test_a_job_that_an_earlier_version_began_is_claimed_by_any_with_its_revision_and_dtype(mill: Mill) -> None:
    job = mill.submit(6)
    mill.claim()
    unknown = {"served_engine": None, "served_numerics": None, "served_threads": None}
    with mill.database.write() as connection:
        connection.execute(update(Job).where(Job.id == job).values(unknown))
    mill.claim(worker("w2", numerics="f0f0"))
    assert get_job(mill.database, job).served_numerics == "f0f0"
    assert claim_generation(mill.database, worker("w3"), LEASE) is None


@pytest.mark.parametrize("end", [cancel_job, lambda db, job: fail_job(db, job, "no model")])
def test_a_job_that_ended_is_not_claimed(mill: Mill, end: object) -> None:
    job = mill.submit(4)
    mill.claim()
    assert callable(end)
    end(mill.database, job)
    assert claim_generation(mill.database, ABILITY, LEASE) is None
    assert waiting_generation(mill.database, ABILITY) == []


def test_scoring_goes_only_to_workers_with_the_classifier(mill: Mill) -> None:
    mill.submit(2, safety="unbiased")
    mill.finish(mill.claim())
    for classifiers in ((), ("demo", "original")):
        other = worker("w", classifiers=classifiers)
        assert claim_scoring(mill.database, other, LEASE) is None
        assert waiting_scoring(mill.database, other) == []
    # The classifier counts, not the model: any worker that has it may score.
    able = worker("w", classifiers=("unbiased",), model="other", revision="r", device="cuda:0")
    assert len(waiting_scoring(mill.database, able)) == 1
    assert claim_scoring(mill.database, able, LEASE) is not None


def test_waiting_batches_are_told_up_to_the_limit_oldest_first(mill: Mill) -> None:
    job = mill.submit(20)
    ids = [row.id for row in mill.batches(job)]
    assert waiting_generation(mill.database, ABILITY) == ids
    assert waiting_generation(mill.database, ABILITY, 3) == ids[:3]
    assert waiting_in_job(mill.database, job, P, 4) == ids[:4]
    assert waiting_in_job(mill.database, job, GD) == []


def test_suspects_are_claimed_only_when_asked_for_and_fewest_deaths_first(mill: Mill) -> None:
    job = mill.submit(6)
    ids = [row.id for row in mill.batches(job)]
    for deaths, batch in ((2, ids[0]), (1, ids[1])):
        with mill.database.write() as connection:
            connection.execute(update(Batch).where(Batch.id == batch).values(deaths=deaths))
    unmarked = mill.claim(hint=ids[0])
    assert (unmarked.batch_id, unmarked.alone) == (ids[2], False)
    assert claim_generation(mill.database, ABILITY, LEASE) is None
    suspects = [mill.claim(suspects=True, hint=ids[2]) for _ in range(2)]
    assert [claim.batch_id for claim in suspects] == [ids[1], ids[0]]
    assert all(claim.alone for claim in suspects)
    assert claim_generation(mill.database, ABILITY, LEASE, suspects=True) is None


def test_renewing_prolongs_a_claim(mill: Mill) -> None:
    mill.submit(2)
    claim = mill.claim()
    mill.expire(claim)
    assert renew_claims(mill.database, [claim], LEASE) == set()  # late, but nobody took it
    assert sweep(mill.database) == 0
    assert mill.states(claim.job_id) == [G]


def test_renewing_nothing_is_nothing(mill: Mill) -> None:
    assert renew_claims(mill.database, [], LEASE) == set()


def test_renewing_says_what_was_taken_over(mill: Mill) -> None:
    mill.submit(4)
    kept, lost = mill.claim(), mill.claim()
    mill.expire(lost)
    assert sweep(mill.database) == 1
    assert renew_claims(mill.database, [kept, lost], LEASE) == {lost.token}
    mill.claim(worker("worker-2"))
    assert renew_claims(mill.database, [kept, lost], LEASE) == {lost.token}


def test_renewing_says_what_was_cancelled_but_never_of_scoring(mill: Mill) -> None:
    job = mill.submit(4)
    generating = mill.claim()
    mill.finish(mill.claim())
    scoring = mill.claim_texts()
    cancel_job(mill.database, job)
    assert renew_claims(mill.database, [generating, scoring], LEASE) == {generating.token}
    release_claim(mill.database, generating)
    mill.finish_texts(scoring)
    assert mill.status(job) == JobStatus.CANCELLED


def test_a_stale_worker_changes_nothing(mill: Mill) -> None:
    job = mill.submit(2, n=2)
    stale = mill.claim()
    mill.generate(stale, 1)
    mill.expire(stale)
    sweep(mill.database)
    fresh = mill.claim(worker("worker-2"))
    before = mill.outputs(job)
    prompt = mill.prompts(job)[0].id
    for act in (
        lambda: mill.save(stale, [text_of(*mill.missing(fresh)[0], "late")]),
        lambda: record_fault(mill.database, stale, prompt, "late", number=1, certain=True),
        lambda: finish_generation(mill.database, stale),
    ):
        with pytest.raises(LeaseLost):
            act()
    release_claim(mill.database, stale)
    assert mill.outputs(job) == before
    assert mill.states(job) == [G]
    assert mill.batch(fresh.batch_id).lease_token == fresh.token
    assert len(mill.missing(fresh)) == 3
    mill.finish(fresh)


def test_a_stale_scorer_changes_nothing(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    stale = mill.claim_texts()
    texts = texts_to_score(mill.database, stale)
    mill.expire(stale)
    sweep(mill.database)
    fresh = mill.claim_texts(worker("worker-2"))
    before = mill.outputs(job)
    for act in (
        lambda: mill.score(stale),
        lambda: count_scoring_attempt(mill.database, stale, texts[0].output_id, 1),
        lambda: give_up_scoring(mill.database, stale, texts[0].output_id),
        lambda: finish_scoring(mill.database, stale),
    ):
        with pytest.raises(LeaseLost):
            act()
    release_claim(mill.database, stale)
    assert mill.outputs(job) == before and mill.scores() == []
    mill.finish_texts(fresh)
    assert mill.states(job) == [D]


def test_a_generators_claim_is_worth_nothing_once_it_ended(mill: Mill) -> None:
    mill.submit(2)
    claim = mill.claim()
    mill.finish(claim)
    with pytest.raises(LeaseLost):
        finish_generation(mill.database, claim)
    assert renew_claims(mill.database, [claim], LEASE) == {claim.token}


def test_a_released_batch_waits_again_with_what_it_has(mill: Mill) -> None:
    job = mill.submit(2, n=2)
    claim = mill.claim()
    mill.generate(claim, 3)
    release_claim(mill.database, claim)
    assert mill.states(job) == [P]
    assert mill.batch(claim.batch_id).deaths == 0
    again = mill.claim(worker("worker-2"))
    assert [(work.position, index) for work, index in mill.missing(again)] == [(1, 1)]
    mill.finish(again)
    scoring = mill.claim_texts()
    release_claim(mill.database, scoring)
    assert mill.states(job) == [GD]
    mill.finish_texts(mill.claim_texts())


def test_a_suspect_that_is_released_stays_one(mill: Mill) -> None:
    job = mill.submit(2)
    mill.claim()
    mark_death(mill.database, ABILITY.worker, "was killed by signal 9")
    claim = mill.claim(suspects=True)
    release_claim(mill.database, claim)
    row = mill.batch(claim.batch_id)
    assert (row.status, row.deaths, row.alone) == (P, 1, False)
    assert claim_generation(mill.database, ABILITY, LEASE) is None
    assert mill.states(job) == [P]


def test_a_batch_with_texts_goes_on_to_scoring_unmarked(mill: Mill) -> None:
    job = mill.submit(2)
    mill.claim()
    mark_death(mill.database, ABILITY.worker, "was killed by signal 9")
    assert mill.finish(mill.claim(suspects=True)) is True
    row = mill.batches(job)[0]
    assert (row.status, row.deaths, row.expiries, row.worker, row.lease_token) == (GD, 0, 0, None, None)


def test_without_a_classifier_a_batch_is_done_when_its_texts_are(mill: Mill) -> None:
    job = mill.submit(2, n=2, safety="none")
    assert mill.finish(mill.claim()) is False
    assert mill.states(job) == [D]
    assert mill.status(job) == JobStatus.COMPLETED
    assert {row.safety for row in mill.outputs(job)} == {"none"}
    assert mill.prompt_states(job) == ["done", "done"]


@pytest.mark.parametrize("safety", ["demo", "none"])
def test_a_batch_that_lacks_a_text_cannot_be_ended(mill: Mill, safety: str) -> None:
    job = mill.submit(2, n=2, safety=safety)
    claim = mill.claim()
    mill.generate(claim, at_most=3)
    with pytest.raises(RuntimeError, match="lacks texts"):
        finish_generation(mill.database, claim)
    assert mill.batches(job)[0].lease_token == claim.token
    assert mill.prompt_states(job) == ["pending", "pending"]
    mill.finish(claim)


def test_a_batch_of_dead_prompts_needs_no_classifier(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    for row in mill.prompts(job):
        record_fault(mill.database, claim, row.id, "too long", number=1, certain=True)
    assert finish_generation(mill.database, claim) is False
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_fault_of_a_prompt_that_is_dead_says_that_it_is(mill: Mill) -> None:
    job = mill.submit(2)
    claim, prompt = mill.claim(), mill.prompts(job)[0].id
    assert record_fault(mill.database, claim, prompt, "too long", number=1, certain=True)
    assert record_fault(mill.database, claim, prompt, "fails", number=2, certain=False)
    assert mill.prompt_states(job) == ["dead", "pending"]


def test_a_job_is_complete_exactly_when_its_last_batch_settles(mill: Mill) -> None:
    job = mill.submit(6)
    for _ in range(3):
        assert mill.status(job) in (JobStatus.QUEUED, JobStatus.RUNNING)
        mill.finish(mill.claim())
    for _ in range(3):
        row = get_job(mill.database, job)
        assert (row.status, row.finished_at) == (JobStatus.RUNNING, None)
        mill.finish_texts(mill.claim_texts())
    row = get_job(mill.database, job)
    assert row.status == JobStatus.COMPLETED
    assert row.created_at <= (row.started_at or 0) <= (row.finished_at or 0)
    assert mill.prompt_states(job) == ["done"] * 6
