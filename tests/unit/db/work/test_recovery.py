"""What comes back after leases ran out and processes died, and how the prompt that kills them is found."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from contract.spec import BatchStatus, JobStatus
from db.jobs.jobs import cancel_job, get_job
from db.models import Job
from db.work.claims import claim_generation, claim_scoring, leave_to_lease, waiting_generation
from db.work.outputs import count_scoring_attempt, give_up_scoring, texts_to_score
from db.work.recovery import finish_jobs, mark_death, release_worker_claims, sweep
from tests.unit.db.mill import ABILITY, LEASE, Mill, worker

P, G, GD, S, D, C = (
    BatchStatus.PENDING, BatchStatus.GENERATING, BatchStatus.GENERATED, BatchStatus.SCORING, BatchStatus.DONE,
    BatchStatus.CANCELLED,
)  # fmt: skip
KILLED = "was killed by signal 9"


def die_alone(mill: Mill, name: str) -> int:
    """A worker takes one suspect and dies over it. Returns the batch's id."""
    claim = mill.claim(worker(name), suspects=True)
    assert mark_death(mill.database, name, KILLED) == 1
    return claim.batch_id


def test_a_sweep_returns_only_what_ran_out(mill: Mill) -> None:
    job = mill.submit(8)
    expired, held = mill.claim(), mill.claim()
    mill.finish(mill.claim())
    scoring = mill.claim_texts()
    mill.expire(expired, scoring)
    assert sweep(mill.database) == 2
    assert mill.states(job) == [P, G, GD, P]
    row = mill.batch(expired.batch_id)
    assert (row.worker, row.lease_token, row.lease_until, row.deaths, row.expiries) == (None, None, None, 0, 1)
    assert mill.batch(held.batch_id).lease_token == held.token
    assert sweep(mill.database) == 0


def test_five_expiries_in_a_row_make_a_suspect(mill: Mill) -> None:
    mill.submit(2)
    for number in range(1, 6):
        claim = mill.claim(worker(f"w{number}"))
        assert mill.batch(claim.batch_id).deaths == 0
        mill.expire(claim)
        sweep(mill.database)
    assert mill.batch(claim.batch_id).deaths == 1
    assert claim_generation(mill.database, ABILITY, LEASE) is None
    assert mill.claim(suspects=True).alone


def test_a_save_between_two_expiries_starts_the_count_again(mill: Mill) -> None:
    mill.submit(2, n=2)
    for number in range(1, 9):
        claim = mill.claim(worker(f"w{number}"))
        if number == 4:
            mill.generate(claim, 1)
        mill.expire(claim)
        sweep(mill.database)
    row = mill.batch(claim.batch_id)
    assert (row.expiries, row.deaths) == (0, 1)  # 4 before the save, 5 after it: only these are in a row


def test_a_death_marks_what_that_process_held_and_nothing_else(mill: Mill) -> None:
    job = mill.submit(8)
    mill.finish(mill.claim())
    scoring = mill.claim_texts(worker("dying"))
    generating = mill.claim(worker("dying"))
    others = mill.claim(worker("living"))
    mill.generate(generating, 1)
    assert mark_death(mill.database, "dying", KILLED) == 2
    assert mill.states(job) == [GD, P, G, P]
    assert [row.deaths for row in mill.batches(job)] == [1, 1, 0, 0]
    assert mill.batch(others.batch_id).lease_token == others.token
    assert [row.deaths for row in mill.prompts(job)] == [0] * 8
    assert mark_death(mill.database, "dying", KILLED) == 0  # told twice
    assert {scoring.batch_id, generating.batch_id} == {row.id for row in mill.batches(job) if row.deaths}


def test_a_process_that_leaves_in_order_marks_nothing(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    mill.claim_texts(worker("leaving"))
    mill.claim(worker("leaving"))
    assert release_worker_claims(mill.database, "leaving") == 2
    assert mill.states(job) == [GD, P]
    assert [row.deaths for row in mill.batches(job)] == [0, 0]


def test_an_attempt_to_score_that_leaving_cut_off_is_not_charged(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts(worker("leaving"))
    first, second = texts_to_score(mill.database, claim)
    count_scoring_attempt(mill.database, claim, first.output_id, 1)
    release_worker_claims(mill.database, "leaving")
    assert {row.score_faults for row in mill.outputs(job)} == {0}
    dying = mill.claim_texts(worker("dying"))
    count_scoring_attempt(mill.database, dying, second.output_id, 1)
    mark_death(mill.database, "dying", KILLED)
    assert sorted(row.score_faults for row in mill.outputs(job)) == [0, 1]


def test_a_suspect_that_dies_alone_is_halved(mill: Mill) -> None:
    job = mill.submit(5, batch_size=5)
    mill.claim(worker("w0"))
    mark_death(mill.database, "w0", KILLED)
    assert len(mill.batches(job)) == 1  # the first death, beside others, only marks
    die_alone(mill, "w1")
    rows = mill.batches(job)
    assert [(row.status, row.prompts, row.deaths, row.alone) for row in rows] == [(P, 2, 2, False), (P, 3, 2, False)]
    assert [row.batch_id for row in mill.prompts(job)] == [rows[0].id] * 2 + [rows[1].id] * 3
    assert [row.deaths for row in mill.prompts(job)] == [0] * 5


def test_only_what_is_missing_is_halved(mill: Mill) -> None:
    job = mill.submit(6, batch_size=6)
    mill.claim(worker("w0"))
    mark_death(mill.database, "w0", KILLED)
    claim = mill.claim(worker("w1"), suspects=True)
    mill.generate(claim, 4)
    mark_death(mill.database, "w1", KILLED)
    assert [(row.prompts, row.generated) for row in mill.batches(job)] == [(5, 4), (1, 0)]
    for suspect in (mill.claim(suspects=True), mill.claim(suspects=True)):
        mill.finish(suspect)
    assert len(mill.outputs(job)) == 6


def test_the_one_prompt_that_kills_is_found_and_no_other_is_lost(mill: Mill) -> None:
    job = mill.submit(16, batch_size=16)
    killer = mill.prompts(job)[11].id
    deaths = rounds = 0
    name = "w"
    while mill.status(job) != JobStatus.COMPLETED:
        rounds += 1
        assert rounds < 60
        name = f"w{rounds}"
        able = worker(name)
        claim = claim_generation(mill.database, able, LEASE) or claim_generation(
            mill.database, able, LEASE, suspects=True
        )
        if claim is None:
            scoring = claim_scoring(mill.database, able, LEASE) or mill.claim_texts(able, suspects=True)
            mill.finish_texts(scoring)
        elif any(work.prompt_id == killer for work, _ in mill.missing(claim)):
            deaths += 1
            mark_death(mill.database, name, KILLED)
        else:
            mill.finish(claim)
    assert deaths == 1 + 4 + 3  # beside others; 16, 8, 4, 2 alone; itself three times
    found = mill.prompts(job)
    assert [row.status for row in found] == ["done"] * 11 + ["dead"] + ["done"] * 4
    assert found[11].reason == f"the worker process {KILLED} 3 times while it generated this prompt alone"
    assert len(mill.outputs(job)) == 15


def test_a_prompt_that_dies_alone_twice_and_then_succeeds_is_done(mill: Mill) -> None:
    job = mill.submit(1)
    mill.claim(worker("w0"))
    mark_death(mill.database, "w0", KILLED)
    for name in ("w1", "w2"):
        die_alone(mill, name)
    assert mill.prompts(job)[0].deaths == 2
    mill.finish(mill.claim(suspects=True))
    assert mill.prompts(job)[0].deaths == 0
    mill.finish_texts(mill.claim_texts())
    assert mill.prompt_states(job) == ["done"]


def test_a_save_clears_the_prompt_that_it_saved(mill: Mill) -> None:
    job = mill.submit(1, n=4)
    mill.claim(worker("w0"))
    mark_death(mill.database, "w0", KILLED)
    for number in range(1, 4):  # each of these saves a sample before it dies
        claim = mill.claim(worker(f"w{number}"), suspects=True)
        mill.generate(claim, 1)
        mark_death(mill.database, f"w{number}", KILLED)
    assert mill.prompt_states(job) == ["pending"]
    assert mill.prompts(job)[0].deaths == 1


def test_a_text_that_kills_its_scorer_three_times_is_unscored(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    mill.claim_texts(worker("w0"))
    mark_death(mill.database, "w0", KILLED)
    assert claim_scoring(mill.database, ABILITY, LEASE) is None
    for number in range(1, 4):
        claim = mill.claim_texts(worker(f"w{number}"), suspects=True)
        assert claim.alone
        count_scoring_attempt(mill.database, claim, texts_to_score(mill.database, claim)[0].output_id, number)
        mark_death(mill.database, f"w{number}", KILLED)
    claim = mill.claim_texts(suspects=True)
    killer, other = texts_to_score(mill.database, claim)
    assert (killer.faults, other.faults) == (3, 0)
    give_up_scoring(mill.database, claim, killer.output_id)
    mill.finish_texts(claim)
    assert len(mill.batches(job)) == 1
    assert [row.safety for row in mill.outputs(job)] == ["unscored", "scored"]
    assert mill.status(job) == JobStatus.COMPLETED
    assert mill.batches(job)[0].deaths == 0


@pytest.mark.parametrize("how", ["sweep", "death", "lone death", "order"])
def test_what_comes_back_to_a_cancelling_job_is_wound_up(mill: Mill, how: str) -> None:
    """A batch without a text is cancelled; one with texts goes on to scoring, and then the job is cancelled."""
    job = mill.submit(8, batch_size=4)
    lone = how == "lone death"
    if lone:
        for _ in range(2):
            mill.claim(worker("before"))
        mark_death(mill.database, "before", KILLED)
    claims = [mill.claim(worker("w"), suspects=lone) for _ in range(2)]
    mill.generate(claims[1], 1)
    cancel_job(mill.database, job)
    assert mill.states(job) == [G, G]
    if how == "sweep":
        mill.expire(*claims)
        assert sweep(mill.database) == 2
    elif how == "order":
        release_worker_claims(mill.database, "w")
    else:
        mark_death(mill.database, "w", KILLED)
    assert mill.states(job) == [C, GD]
    assert mill.status(job) == JobStatus.CANCELLING
    mill.finish_texts(mill.claim_texts())
    assert mill.states(job) == [C, D]
    assert mill.status(job) == JobStatus.CANCELLED
    assert mill.prompt_states(job) == ["cancelled"] * 4 + ["done"] + ["cancelled"] * 3


def test_a_cancelling_command_that_died_half_way_is_carried_on(mill: Mill) -> None:
    job = mill.submit(6)
    with mill.database.write() as connection:
        connection.execute(update(Job).where(Job.id == job).values(status=JobStatus.CANCELLING.value))
    assert waiting_generation(mill.database, ABILITY) == []
    finish_jobs(mill.database)
    assert mill.states(job) == [C, C, C]
    assert mill.status(job) == JobStatus.CANCELLED


def test_a_job_whose_last_batch_ended_without_it_is_ended_by_the_sweeper(mill: Mill) -> None:
    job = mill.submit(2)
    mill.work_off()
    going = mill.submit(2)
    mill.claim()
    with mill.database.write() as connection:
        reopened = {"status": JobStatus.RUNNING.value, "finished_at": None}
        connection.execute(update(Job).where(Job.id == job).values(reopened))
    finish_jobs(mill.database)
    assert mill.status(job) == JobStatus.COMPLETED
    assert get_job(mill.database, job).finished_at is not None
    assert mill.status(going) == JobStatus.RUNNING


def test_a_suspect_whose_lease_only_ever_runs_out_is_halved_and_the_last_prompt_given_up(mill: Mill) -> None:
    job = mill.submit(2, batch_size=2)
    for _ in range(5):
        mill.expire(mill.claim())
        sweep(mill.database)
    for _ in range(5):
        mill.expire(mill.claim(suspects=True))
        sweep(mill.database)
    assert len(mill.states(job)) == 2, "five more expiries halve it"
    for _ in range(40):
        claim = claim_generation(mill.database, ABILITY, LEASE, suspects=True)
        if claim is None:
            break
        if not mill.missing(claim):
            mill.finish(claim)
            continue
        mill.expire(claim)
        sweep(mill.database)
    assert sorted(mill.prompt_states(job)) == ["dead", "dead"]


def test_a_batch_left_to_its_lease_is_not_charged_for_what_happens_to_its_worker(mill: Mill) -> None:
    mill.submit(1, batch_size=1)
    mill.claim()
    mark_death(mill.database, ABILITY.worker, "was killed")
    claim = mill.claim(suspects=True)
    leave_to_lease(mill.database, claim)
    assert mark_death(mill.database, ABILITY.worker, "was killed") == 0
    assert claim_generation(mill.database, ABILITY, LEASE, suspects=True) is None, "its lease has to run out first"
    mill.expire(claim)
    assert sweep(mill.database) == 1
    assert mill.claim(suspects=True).batch_id == claim.batch_id
