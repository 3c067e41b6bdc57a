"""Scoring a job again: every text and edit by the new revision, once, with its old scores and flag until then."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from contract.errors import UsageError
from contract.policy import ScoreBy
from contract.review import State
from contract.spec import JobStatus
from db.jobs.ingest import Ingest
from db.jobs.jobs import cancel_job, get_job
from db.jobs.rescore import rescore_job
from db.jobs.status import snapshot
from db.models import Job
from db.record import acts_on
from db.results.export_rows import reading_results
from db.review.decisions.acts import decide
from db.work.batches import recount
from db.work.claims import Claim, adopt_classifier, claim_scoring, finish_scoring, waiting_scoring
from db.work.lease import LeaseLost
from db.work.outputs import ScoredText, give_up_scoring, save_scores, texts_to_score
from db.work.recovery import sweep
from db.work.request_claims import claim_request, save_edit_scores, save_words
from db.work.score_requests import mark_words
from tests.unit.db.desk import Desk
from tests.unit.db.mill import LEASE, SPEC, worker

NEW = worker("new", classifier_revisions={"demo": "rev-d"})


def claimed(desk: Desk, by: Any = NEW) -> Claim:
    claim = desk.claim_texts(by)
    assert adopt_classifier(desk.database, claim, by.classifier_revisions["demo"])
    return claim


def save(desk: Desk, claim: Claim, toxicity: float, at_most: int | None = None) -> int:
    """Saves new scores of a claimed batch's texts. Returns how many."""
    texts = texts_to_score(desk.database, claim)[:at_most]
    verdicts = [ScoredText(output_id=text.output_id, scores={"toxicity": toxicity}) for text in texts]
    save_scores(desk.database, claim, verdicts, (), classifier="demo", classifier_revision="rev-d")
    return len(texts)


def work_off(desk: Desk, toxicity: float) -> int:
    saved = 0
    while waiting_scoring(desk.database, NEW):
        claim = claimed(desk)
        saved += save(desk, claim, toxicity)
        finish_scoring(desk.database, claim)
    return saved


def scored(desk: Desk, job: int, only: str = "all") -> list[tuple[str | None, float]]:
    with reading_results(desk.database, get_job(desk.database, job)) as results:
        found = results.outputs((only,))
        return [(output.classifier_revision, output.scores.get("toxicity", -1)) for output in found]


def flags(desk: Desk, job: int) -> list[bool]:
    return [bool(row.flagged) for row in desk.outputs(job)]


def job_of(desk: Desk, *toxicity: float) -> int:
    """A finished job that rev-c scored, in batches of two."""
    job = desk.submit(len(toxicity))
    claims = [desk.claim() for _ in desk.batches(job)]
    for claim in claims:
        desk.finish(claim)
    for number in range(len(claims)):
        claim = desk.claim_texts()
        assert adopt_classifier(desk.database, claim, "rev-c")
        verdicts = [
            ScoredText(output_id=text.output_id, scores={"toxicity": toxicity[2 * number + place]})
            for place, text in enumerate(texts_to_score(desk.database, claim))
        ]
        desk.save_verdicts(claim, verdicts)
        finish_scoring(desk.database, claim)
    assert desk.status(job) == JobStatus.COMPLETED
    return job


def test_every_text_is_scored_again_and_flagged_anew(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1, 0.9)
    assert rescore_job(desk.database, job) == 3
    assert desk.status(job) == JobStatus.QUEUED and snapshot(desk.database, job).rescoring
    assert work_off(desk, 0.2) == 3
    assert scored(desk, job) == [("rev-d", 0.2)] * 3
    assert flags(desk, job) == [False] * 3
    row = get_job(desk.database, job)
    assert (row.status, row.served_classifier_revision) == (JobStatus.COMPLETED, "rev-d")
    assert not snapshot(desk.database, job).rescoring
    desk.assert_counters()
    desk.assert_in_step()


def test_a_text_keeps_its_scores_and_its_flag_until_the_new_ones_are_stored(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    rescore_job(desk.database, job)
    claim = claimed(desk)
    assert scored(desk, job) == [("rev-c", 0.9), ("rev-c", 0.1)] and flags(desk, job) == [True, False]
    save(desk, claim, 0.95, at_most=1)
    assert scored(desk, job) == [("rev-d", 0.95), ("rev-c", 0.1)]
    assert scored(desk, job, "clean") == [("rev-c", 0.1)]
    save(desk, claim, 0.95)
    assert scored(desk, job, "clean") == [] and flags(desk, job) == [True, True]
    desk.assert_counters()


def test_a_killed_scorer_loses_no_text_and_none_is_scored_twice(desk: Desk) -> None:
    job = job_of(desk, 0.1, 0.1)
    rescore_job(desk.database, job)
    killed = claimed(desk)
    save(desk, killed, 0.3, at_most=1)
    desk.expire(killed)
    sweep(desk.database)
    with pytest.raises(LeaseLost):
        save(desk, killed, 0.4)
    assert work_off(desk, 0.5) == 1
    assert scored(desk, job) == [("rev-d", 0.3), ("rev-d", 0.5)]
    desk.assert_counters()


def test_a_save_whose_answer_was_lost_counts_once(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    rescore_job(desk.database, job)
    claim = claimed(desk)
    verdicts = [
        ScoredText(output_id=text.output_id, scores={"toxicity": 0.8}) for text in texts_to_score(desk.database, claim)
    ]
    for _ in range(2):
        save_scores(desk.database, claim, verdicts, (), classifier="demo", classifier_revision="rev-d")
    desk.assert_counters()
    assert flags(desk, job) == [True, True]


def test_an_unfinished_job_whose_revision_is_gone_is_scored_whole_by_the_new_one(desk: Desk) -> None:
    job = desk.submit(6)
    for _ in range(3):
        desk.finish(desk.claim())
    first = desk.claim_texts()
    adopt_classifier(desk.database, first, "rev-c")
    desk.finish_texts(first)
    held = desk.claim_texts()  # by a worker of the old revision
    rescore_job(desk.database, job)
    with pytest.raises(LeaseLost):
        desk.score(held)
    assert work_off(desk, 0.2) == 6
    assert scored(desk, job) == [("rev-d", 0.2)] * 6
    desk.assert_counters()


def test_the_same_revision_scores_nothing_twice(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    for _ in range(2):
        rescore_job(desk.database, job)
        work_off(desk, 0.2)
    assert scored(desk, job) == [("rev-d", 0.2)] * 2
    rescore_job(desk.database, job)
    rescore_job(desk.database, job)  # and again while it waits
    claim = claimed(desk)
    assert texts_to_score(desk.database, claim) == []
    finish_scoring(desk.database, claim)
    assert desk.status(job) == JobStatus.COMPLETED


def test_what_people_decided_stays(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.9, 0.9, 0.9)
    approved, rejected, *_ = (row.id for row in desk.outputs(job))
    decide(desk.database, approved, "anna", "approve")
    decide(desk.database, rejected, "anna", "reject")
    rescore_job(desk.database, job)
    work_off(desk, 0.1)
    states = [desk.state(row.id) for row in desk.outputs(job)]
    assert states == [State.APPROVED, State.REJECTED, State.UNFLAGGED, State.UNFLAGGED]
    assert len(scored(desk, job, "clean")) == 3
    desk.assert_in_step()


def test_edits_are_scored_again_and_flagged_by_their_own_scores(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    output = desk.outputs(job)[0].id
    decide(desk.database, output, "anna", "edit", text="kind")
    desk.score_edits(toxicity=0.2)
    rescore_job(desk.database, job)
    work_off(desk, 0.95)
    # The generated text has its new scores; the edit that stands still has its own of before, and their flag.
    assert scored(desk, job) == [("rev-c", 0.2), ("rev-d", 0.95)]
    assert flags(desk, job) == [False, True]
    claim = claim_request(desk.database, "w", ["demo"], LEASE, revisions={"demo": "rev-d"})
    assert claim is not None
    save_edit_scores(desk.database, claim, {"toxicity": 0.8}, "rev-d")
    assert scored(desk, job) == [("rev-d", 0.8), ("rev-d", 0.95)]
    assert flags(desk, job) == [True, True] and desk.state(output) == State.EDITED
    desk.assert_counters()
    desk.assert_in_step()


def test_marked_words_are_those_of_the_scores_that_stand(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    output = desk.outputs(job)[0].id
    mark_words(desk.database, output)
    claim = claim_request(desk.database, "w", ["demo"], LEASE)
    assert claim is not None
    save_words(desk.database, claim, [(0, 4)], {"toxicity": [0.5]})
    rescore_job(desk.database, job)
    words = mark_words(desk.database, output)
    assert (words.status, words.spans) == ("waiting", ())


def test_a_text_that_the_new_revision_cannot_score_is_never_clean(desk: Desk) -> None:
    job = job_of(desk, 0.1, 0.1)
    rescore_job(desk.database, job)
    claim = claimed(desk)
    for _ in range(2):  # as where a commit's answer was lost
        give_up_scoring(desk.database, claim, desk.outputs(job)[0].id)
    save(desk, claim, 0.1)
    finish_scoring(desk.database, claim)
    assert scored(desk, job) == [(None, -1), ("rev-d", 0.1)]
    assert scored(desk, job, "clean") == [("rev-d", 0.1)]
    assert desk.outputs(job)[0].flag_reasons == ["unscored"]
    desk.assert_counters()
    rescore_job(desk.database, job)  # gets it another three attempts
    assert work_off(desk, 0.2) == 1
    desk.assert_counters()


def test_what_cannot_be_scored_again_is_refused(desk: Desk) -> None:
    unscored = desk.submit(2, safety="none")
    with pytest.raises(UsageError, match="safety none"):
        rescore_job(desk.database, unscored)
    half = Ingest(desk.database, SPEC, again=True)
    with pytest.raises(UsageError, match="ingesting"):
        rescore_job(desk.database, half.job_id)
    cancelled = desk.submit(2)
    desk.claim()
    desk.claim()
    cancel_job(desk.database, cancelled)
    with pytest.raises(UsageError, match="cancelling"):
        rescore_job(desk.database, cancelled)
    with pytest.raises(UsageError, match="no job 99"):
        rescore_job(desk.database, 99)


def test_a_job_that_was_never_scored_is_not_changed(desk: Desk) -> None:
    job = desk.submit(2)
    rescore_job(desk.database, job)
    desk.work_off()
    assert claim_scoring(desk.database, NEW, LEASE) is None
    with desk.database.read() as connection:
        assert connection.execute(select(Job.status, Job.rescoring)).one() == (JobStatus.COMPLETED, False)
    with desk.database.write() as connection:
        recount(connection, [row.id for row in desk.batches(job)])


def test_the_same_revision_scores_all_texts_again_where_it_reads_otherwise(desk: Desk) -> None:
    job = job_of(desk, 0.1, 0.1)
    rescore_job(desk.database, job)
    work_off(desk, 0.1)
    held = desk.outputs(job)
    rescore_job(desk.database, job, score_by=ScoreBy.SENTENCE)
    assert get_job(desk.database, job).score_by is ScoreBy.SENTENCE
    claim = claimed(desk)
    with pytest.raises(LeaseLost, match="by sentence by now"):
        save(desk, claim, 0.9)
    verdicts = [ScoredText(output_id=row.id, scores={"toxicity": 0.9}, deciding={"toxicity": (2, 7)}) for row in held]
    made_by = {"classifier": "demo", "classifier_revision": "rev-d", "score_by": ScoreBy.SENTENCE}
    save_scores(desk.database, claim, verdicts, (), **made_by)  # type: ignore[arg-type]
    finish_scoring(desk.database, claim)
    assert flags(desk, job) == [True, True] and desk.status(job) == JobStatus.COMPLETED
    assert desk.look(held[0].id).deciding == {"toxicity": (2, 7)}
    with reading_results(desk.database, get_job(desk.database, job)) as results:
        told = [(output.score_by, output.deciding) for output in results.outputs()]
    assert told == [("sentence", {"toxicity": [2, 7]})] * 2
    act = acts_on(desk.database, job)[-1]
    assert act.before == {"classifier_revision": "rev-d", "score_by": "window"} and act.after == {
        "score_by": "sentence"
    }


def test_an_edit_that_was_scored_otherwise_is_scored_again(desk: Desk) -> None:
    job = job_of(desk, 0.9, 0.1)
    output = desk.outputs(job)[0].id
    decide(desk.database, output, "anna", "edit", text="kind")
    late = claim_request(desk.database, "w", ["demo"], LEASE)
    assert late is not None
    rescore_job(desk.database, job, score_by=ScoreBy.SENTENCE)
    with pytest.raises(LeaseLost):
        save_edit_scores(desk.database, late, {"toxicity": 0.2}, "rev-c")
    claim = claim_request(desk.database, "w", ["demo"], LEASE)
    assert claim is not None and claim.score_by is ScoreBy.SENTENCE
    save_edit_scores(desk.database, claim, {"toxicity": 0.3}, "rev-c", deciding={"toxicity": (0, 4)})
    assert (desk.look(output).scores, desk.look(output).deciding) == ({"toxicity": 0.3}, {"toxicity": (0, 4)})
