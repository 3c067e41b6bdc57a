"""One job, one classifier: whose revision scores a job's first texts, and nobody else's after it without a word."""

from __future__ import annotations

from typing import Any

import pytest

from db.jobs.jobs import get_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshot
from db.jobs.waiting import waiting_for
from db.review.decisions.acts import decide
from db.work.claims import Ability, adopt_classifier, claim_scoring, release_claim, waiting_scoring
from db.work.lease import LeaseLost
from db.work.outputs import ScoredText, save_scores, texts_to_score
from db.work.request_claims import claim_request, save_edit_scores, waiting_requests
from db.work.workers import record_heartbeat, register_worker
from tests.unit.db.desk import Desk
from tests.unit.db.mill import LEASE, Mill, worker


def with_revision(revision: str) -> Ability:
    return worker(f"worker of {revision}", classifier_revisions={"demo": revision})


def present(mill: Mill, **revisions: str) -> None:
    """One live worker for each revision; "" = it has not loaded its classifier yet."""
    for name, revision in revisions.items():
        register_worker(mill.database, name, host="h", pid=1, state="ready", model="demo", dtype="fp32", device="cpu",
                 classifiers=["demo"])  # fmt: skip
        record_heartbeat(
            mill.database, name, revision="rev-1", classifier_revisions={"demo": revision} if revision else {}
        )


def half_scored(mill: Mill) -> int:
    """A job whose first batch is scored by revision rev-c, and whose second waits for its scores."""
    job = mill.submit(4)
    for _ in range(2):
        mill.finish(mill.claim())
    claim = mill.claim_texts(with_revision("rev-c"))
    assert adopt_classifier(mill.database, claim, "rev-c")
    mill.finish_texts(claim)
    return job


def waits_for(mill: Mill, job: int) -> str | None:
    return waiting_for(mill.database, snapshot(mill.database, job))


def test_the_first_to_score_settles_the_revision_for_all_of_the_job(mill: Mill) -> None:
    job = half_scored(mill)
    assert get_job(mill.database, job).served_classifier_revision == "rev-c"
    assert snapshot(mill.database, job).served_classifier_revision == "rev-c"
    other = with_revision("rev-d")
    assert claim_scoring(mill.database, other, LEASE) is None
    assert waiting_scoring(mill.database, other) == []
    assert len(waiting_scoring(mill.database, with_revision("rev-c"))) == 1
    mill.finish_texts(mill.claim_texts(with_revision("rev-c")))
    assert {row.classifier_revision for row in mill.scores()} == {"rev-c"}


def test_who_learns_its_revision_after_the_claim_gives_the_batch_back(mill: Mill) -> None:
    half_scored(mill)
    claim = mill.claim_texts(worker("not loaded yet"))
    assert not adopt_classifier(mill.database, claim, "rev-d")
    release_claim(mill.database, claim)
    assert len(waiting_scoring(mill.database, with_revision("rev-c"))) == 1


def test_of_two_that_score_first_at_once_one_settles_the_revision(mill: Mill) -> None:
    mill.submit(4)
    for _ in range(2):
        mill.finish(mill.claim())
    first, second = mill.claim_texts(with_revision("rev-c")), mill.claim_texts(with_revision("rev-d"))
    assert adopt_classifier(mill.database, second, "rev-d")
    assert not adopt_classifier(mill.database, first, "rev-c")
    with pytest.raises(LeaseLost, match="another revision of demo"):
        mill.score(first)
    assert mill.scores() == []


def test_any_worker_lets_another_revision_score_the_rest(mill: Mill) -> None:
    job = half_scored(mill)
    retry_job(mill.database, job, any_worker=True)
    claim = mill.claim_texts(with_revision("rev-d"))
    assert adopt_classifier(mill.database, claim, "rev-d")
    (text, *_) = texts_to_score(mill.database, claim)
    verdicts = [ScoredText(output_id=text.output_id, scores={"toxicity": 0.2})]
    save_scores(mill.database, claim, verdicts, (), classifier="demo", classifier_revision="rev-d")
    assert get_job(mill.database, job).served_classifier_revision == "rev-d"
    assert sorted(row.classifier_revision for row in mill.scores()) == ["rev-c", "rev-c", "rev-d"]


def test_a_job_says_that_it_waits_for_its_revision_and_what_to_type(mill: Mill) -> None:
    job = half_scored(mill)
    present(mill, one="rev-d")
    said = waits_for(mill, job)
    assert said is not None and "revision rev-c of demo" in said
    assert said.endswith(f"inkmill retry {job} --any-worker, or all texts again: inkmill rescore {job}")
    present(mill, two="rev-c")
    assert waits_for(mill, job) is None


@pytest.mark.parametrize("revision", ["rev-c", ""])
def test_a_worker_that_may_have_the_revision_is_not_complained_of(mill: Mill, revision: str) -> None:
    job = half_scored(mill)
    present(mill, one=revision)
    assert waits_for(mill, job) is None


@pytest.fixture
def edited(desk: Desk) -> int:
    """An edit that waits for its scores, of a job that rev-c scores."""
    job = desk.submit(1)
    desk.finish(desk.claim())
    claim = desk.claim_texts()
    adopt_classifier(desk.database, claim, "rev-c")
    desk.finish_texts(claim, 0.9)
    (output,) = desk.outputs(job)
    decide(desk.database, output.id, "anna", "edit", text="kind")
    return int(output.id)


def asked(desk: Desk, revision: str) -> Any:
    return claim_request(desk.database, "w", ["demo"], LEASE, revisions={"demo": revision})


def test_an_edit_is_scored_by_the_revision_that_scores_its_job(desk: Desk, edited: int) -> None:
    assert waiting_requests(desk.database, ["demo"], revisions={"demo": "rev-d"}) == []
    assert asked(desk, "rev-d") is None
    claim = asked(desk, "rev-c")
    assert claim is not None and claim.served_revision == "rev-c"
    with pytest.raises(LeaseLost):
        save_edit_scores(desk.database, claim, {"toxicity": 0.1}, "rev-d")
    save_edit_scores(desk.database, claim, {"toxicity": 0.1}, "rev-c")
    assert desk.look(edited).scores == {"toxicity": 0.1}


def test_an_edit_that_only_another_revision_could_score_is_shown_as_not_served(desk: Desk, edited: int) -> None:
    for revision, served in (("rev-d", False), ("rev-c", True)):
        present(desk, **{revision: revision})
        request = desk.look(edited).edit
        assert request is not None and request.served is served
