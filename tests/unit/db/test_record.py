"""The record says who did what to a job: it is written with the act, or not at all."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contract.blocklist import blocklist_digest
from contract.errors import UsageError
from db.jobs.jobs import cancel_job, get_job, pause_job, resume_job
from db.jobs.reflag import reflag_job
from db.jobs.requeue import requeue_prompts
from db.jobs.rescore import rescore_job
from db.jobs.retry import requeue_job, retry_job
from db.record import acts_on
from db.review.decisions.bulk import decide_many, undo_many
from db.review.decisions.decision_list import Instruction, decide_list
from db.session.engine import Database
from tests.unit.db.desk import Desk


def told(desk: Desk, job: int) -> list[tuple[str, str]]:
    return [(act.what, act.who) for act in acts_on(desk.database, job)]


def test_steering_a_job_is_recorded_with_the_status_before_and_after(desk: Desk) -> None:
    job, other = desk.submit(2), desk.submit(2)
    pause_job(desk.database, job)
    resume_job(desk.database, job, by="anna")
    cancel_job(desk.database, job, by="ben")
    retry_job(desk.database, job)
    me = getpass.getuser()
    assert told(desk, job) == [("pause", me), ("resume", "anna"), ("cancel", "ben"), ("retry", me)]
    paused, resumed, cancelled, retried = acts_on(desk.database, job)
    assert (paused.before, paused.after) == ({"status": "queued"}, {"status": "paused"})
    assert (resumed.before, resumed.after) == ({"status": "paused"}, {"status": "queued"})
    assert (cancelled.before, cancelled.after) == ({"status": "queued"}, {"status": "cancelling"})
    assert retried.before == {"status": "cancelled"}
    assert retried.after == {"status": "queued", "prompts": 2, "texts": 0}
    assert paused.at <= retried.at
    assert told(desk, other) == []


def test_what_is_refused_or_changes_nothing_is_not_recorded(desk: Desk) -> None:
    desk.outputs_of([0.1])
    for refused in (cancel_job, pause_job, resume_job):
        with pytest.raises(UsageError):
            refused(desk.database, 1)
    retry_job(desk.database, 1)
    assert told(desk, 1) == []


def test_an_act_that_fails_half_way_leaves_no_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.submit(2)

    @contextmanager
    def lost() -> Iterator[object]:
        with real() as connection:
            yield connection
            raise RuntimeError("the connection is lost before the commit")

    real = desk.database.write
    with monkeypatch.context() as patched:
        patched.setattr(desk.database, "write", lost)
        with pytest.raises(RuntimeError):
            cancel_job(desk.database, job)
    assert (desk.status(job), told(desk, job)) == ("queued", [])


def test_a_reflag_is_recorded_with_both_policies(desk: Desk) -> None:
    desk.outputs_of([0.1], blocklist=("turnip",), thresholds={"insult": 0.2})
    reflag_job(desk.database, 1, thresholds={"toxicity": 0.4}, blocklist=("a", "b"), by="anna")
    (act,) = acts_on(desk.database, 1)
    digests = [blocklist_digest(words) for words in (("turnip",), ("a", "b"))]
    assert act.before == {"thresholds": {"insult": 0.2}, "words": 1, "blocklist": digests[0]}
    assert act.after == {"thresholds": {"insult": 0.2, "toxicity": 0.4}, "words": 2, "blocklist": digests[1]}
    assert (act.what, act.who) == ("reflag", "anna")


def test_letting_any_worker_go_on_is_recorded_with_what_bound_the_job(desk: Desk) -> None:
    job = desk.submit(4, dtype="fp32")
    desk.claim()
    retry_job(desk.database, job, any_worker=True, by="anna")
    (act,) = acts_on(desk.database, job)
    assert act.what == "retry any worker" and act.before and act.after
    assert (act.before["dtype"], act.before["served_revision"]) == ("fp32", "rev-1")
    assert (act.after["dtype"], act.after["served_revision"]) == ("auto", None)


def test_a_retry_that_was_killed_is_recorded_by_the_worker_that_ends_it(desk: Desk) -> None:
    job = desk.submit(2)
    cancel_job(desk.database, job, by="anna")
    requeue_prompts(desk.database, get_job(desk.database, job))  # then the command is killed
    requeue_job(desk.database, job, by="a worker")
    assert told(desk, job) == [("cancel", "anna"), ("retry", "a worker")]


def test_a_rescore_is_recorded_with_the_revision_that_scored_before(desk: Desk) -> None:
    desk.outputs_of([0.1])
    rescore_job(desk.database, 1)
    (act,) = acts_on(desk.database, 1)
    assert act.what == "rescore" and act.before is not None and "classifier_revision" in act.before


def test_decisions_in_bulk_are_one_act_on_each_job(desk: Desk) -> None:
    first, second = desk.outputs_of([0.9, 0.8, 0.1]), desk.outputs_of([0.9])
    decide_many(desk.database, [*first, *second], "anna", "approve", key="k")
    undo_many(desk.database, "k", "anna")
    assert told(desk, 1) == [("approve", "anna"), ("undo", "anna")]
    assert told(desk, 2) == [("approve", "anna"), ("undo", "anna")]
    approved, undone = acts_on(desk.database, 1)
    assert (approved.before, approved.after) == ({"pending": 2, "unflagged": 1}, {"approved": 3})
    assert (undone.before, undone.after) == ({"approved": 3}, {"pending": 2, "unflagged": 1})


def test_a_list_of_decisions_is_an_act_and_a_single_one_is_not(desk: Desk) -> None:
    outputs = desk.outputs_of([0.9, 0.8, 0.9])
    lines = [Instruction(line=i, output_id=output, decision="reject") for i, output in enumerate(outputs, 1)]
    decide_list(desk.database, lines[:1], "ben")
    assert told(desk, 1) == []
    decide_list(desk.database, lines[1:], "ben")
    assert told(desk, 1) == [("reject", "ben")]


def test_only_the_newest_acts_are_told_oldest_first(desk: Desk) -> None:
    job = desk.submit(1)
    for _ in range(3):
        pause_job(desk.database, job)
        resume_job(desk.database, job)
    newest = acts_on(desk.database, job, limit=3)
    assert [act.what for act in newest] == ["resume", "pause", "resume"]


def test_a_name_that_is_not_text_is_recorded_all_the_same(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "j\udcf6rg")
    job = Desk(database).submit(1)
    pause_job(database, job)
    assert [act.who for act in acts_on(database, job)] == ["j\\xf6rg"]
