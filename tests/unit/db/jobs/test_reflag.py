"""A reflag that is killed, and several at once: the flags end as the job's policy says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from contract import blocklist
from contract.blocklist import Blocklist
from contract.errors import UsageError
from db import flagging
from db.jobs import reflag
from db.jobs.jobs import get_job
from db.jobs.reflag import check_scored, continue_reflag, reflag_job, unfinished_reflags
from db.review.decisions.acts import decide, undo
from db.session.engine import Database
from tests.unit.db.desk import Desk
from tests.unit.db.mill import before_write, together

SCORES = [0.1, 0.3, 0.5, 0.1, 0.3, 0.5, 0.8]
STRICT, LAX = {"toxicity": 0.2}, {"toxicity": 0.4}


class Killed(BaseException):
    """What nobody catches, as the end of a process."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 2)


def kill(monkeypatch: pytest.MonkeyPatch, database: Database, number: int, job: int, **policy: Any) -> None:
    """A reflag whose process ends right before that write transaction."""

    def die() -> None:
        raise Killed

    with monkeypatch.context() as patched:
        before_write(patched, database, number, die)
        with pytest.raises(Killed):
            reflag_job(database, job, **{"thresholds": None, "blocklist": None, **policy})


def flagged(desk: Desk, job: int) -> list[bool]:
    return [bool(row.flagged) for row in desk.outputs(job)]


def stated(desk: Desk, job: int) -> list[bool]:
    """The flags of texts with `SCORES` by the threshold that the job states."""
    return [score >= get_job(desk.database, job).thresholds["toxicity"] for score in SCORES]


def job_of(desk: Desk) -> int:
    return desk.look(desk.outputs_of(SCORES)[0]).job_id


@pytest.mark.parametrize("number", range(2, 7))
def test_a_reflag_that_was_killed_is_carried_on_to_the_flags_of_the_jobs_policy(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job = job_of(desk)
    kill(monkeypatch, desk.database, number, job, thresholds=STRICT)
    assert get_job(desk.database, job).thresholds == STRICT
    assert list(unfinished_reflags(desk.database)) == [job]
    while not continue_reflag(desk.database, job, chunks=1):
        desk.assert_counters()
    assert flagged(desk, job) == stated(desk, job) == [score >= 0.2 for score in SCORES]
    assert unfinished_reflags(desk.database) == {}


def test_carrying_on_begins_where_the_killed_reflag_stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(desk)
    outputs = [row.id for row in desk.outputs(job)]
    kill(monkeypatch, desk.database, 4, job, thresholds=STRICT)
    assert unfinished_reflags(desk.database) == {job: outputs[3]}
    assert not continue_reflag(desk.database, job, chunks=1)
    assert unfinished_reflags(desk.database) == {job: outputs[5]}


def test_edits_belong_to_what_is_carried_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, edited = desk.outputs_of([0.9, 0.9])
    lost = desk.unscored()
    for output in (edited, lost):
        decide(desk.database, output, "anna", "edit", text="one")
    desk.score_edits(toxicity=0.3)
    for output in (plain, lost):
        kill(monkeypatch, desk.database, 2, desk.look(output).job_id, thresholds=STRICT)
    assert [desk.look(output).flagged for output in (plain, edited, lost)] == [True, False, False]
    for job in unfinished_reflags(desk.database):
        assert continue_reflag(desk.database, job, chunks=10)
    assert [desk.look(output).flagged for output in (plain, edited, lost)] == [True, True, True]


def test_the_same_command_again_mends_what_was_killed_without_any_worker(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(desk)
    kill(monkeypatch, desk.database, 3, job, thresholds=STRICT)
    assert reflag_job(desk.database, job, thresholds=STRICT, blocklist=None).flagged == sum(stated(desk, job))
    assert flagged(desk, job) == stated(desk, job)
    assert unfinished_reflags(desk.database) == {}


@pytest.mark.parametrize("number", range(2, 7))
def test_a_newer_reflag_that_overtakes_an_older_one_has_the_last_word(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job = job_of(desk)
    overtaken = desk.database
    newer = Database(overtaken.url.render_as_string(hide_password=False), overtaken.engine)
    before_write(monkeypatch, overtaken, number, lambda: reflag_job(newer, job, thresholds=LAX, blocklist=None))
    done = reflag_job(overtaken, job, thresholds=STRICT, blocklist=None)
    assert get_job(desk.database, job).thresholds == LAX
    assert flagged(desk, job) == stated(desk, job)
    assert done.flagged == sum(stated(desk, job))
    assert unfinished_reflags(desk.database) == {}


@pytest.mark.parametrize("number", range(2, 7))
def test_a_newer_reflag_that_was_killed_at_once_is_applied_by_the_older_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job = job_of(desk)
    older = desk.database
    newer = Database(older.url.render_as_string(hide_password=False), older.engine)
    before_write(monkeypatch, older, number, lambda: kill(monkeypatch, newer, 2, job, thresholds=LAX))
    reflag_job(older, job, thresholds=STRICT, blocklist=None)
    assert get_job(desk.database, job).thresholds == LAX
    assert flagged(desk, job) == stated(desk, job)


def test_a_policy_that_comes_while_a_chunk_is_judged_waits_for_the_chunk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(desk)
    real, newer = flagging._verdict, threading.Thread(
        target=reflag_job, args=(desk.database, job), kwargs={"thresholds": LAX, "blocklist": None}
    )  # fmt: skip

    def judged_slowly(*row: Any) -> dict[str, Any]:
        if newer.ident is None:
            newer.start()
            newer.join(0.5)
            assert get_job(desk.database, job).thresholds == STRICT
        return real(*row)

    monkeypatch.setattr(flagging, "_verdict", judged_slowly)
    reflag_job(desk.database, job, thresholds=STRICT, blocklist=None)
    newer.join()
    assert get_job(desk.database, job).thresholds == LAX
    assert flagged(desk, job) == stated(desk, job)


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_a_policy_that_comes_while_a_chunk_waits_for_its_rows_is_applied_from_the_first_output(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    if desk.database.sqlite:
        return  # one writer at a time
    job = job_of(desk)
    newer = Database(desk.database.url.render_as_string(hide_password=False), desk.database.engine)
    real, calls = reflag._lock, 0

    def overtaken(connection: Connection, job_id: int, outputs: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        real(connection, job_id, outputs)
        if calls == number:
            kill(monkeypatch, newer, 2, job, thresholds=LAX)

    monkeypatch.setattr(reflag, "_lock", overtaken)
    reflag_job(desk.database, job, thresholds=STRICT, blocklist=None)
    assert get_job(desk.database, job).thresholds == LAX
    assert flagged(desk, job) == stated(desk, job)
    assert unfinished_reflags(desk.database) == {}


def test_texts_that_are_scored_right_before_a_newer_policy_are_not_passed_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if desk.database.sqlite:
        return  # one writer at a time
    job = desk.submit(1)
    desk.finish(desk.claim())
    newer = Database(desk.database.url.render_as_string(hide_password=False), desk.database.engine)
    real = reflag._lock

    def overtaken(connection: Connection, job_id: int, outputs: Sequence[int]) -> None:
        real(connection, job_id, outputs)
        if not outputs:
            monkeypatch.setattr(reflag, "_lock", real)
            Desk(newer).finish_texts(Desk(newer).claim_texts(), toxicity=0.3)
            kill(monkeypatch, newer, 2, job, thresholds=LAX)

    monkeypatch.setattr(reflag, "_lock", overtaken)
    reflag_job(desk.database, job, thresholds=STRICT, blocklist=None)
    assert get_job(desk.database, job).thresholds == LAX
    assert flagged(desk, job) == [False]


def test_texts_that_are_scored_meanwhile_hold_up_no_chunk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    if desk.database.sqlite:
        return  # one writer at a time
    job = desk.submit(8, batch_size=1)
    for _ in range(8):
        desk.finish(desk.claim())
    newer = Desk(Database(desk.database.url.render_as_string(hide_password=False), desk.database.engine))
    real, chunks = reflag._lock, list[int]()

    def busy(connection: Connection, job_id: int, outputs: Sequence[int]) -> None:
        real(connection, job_id, outputs)
        chunks.append(len(outputs))
        if not outputs:
            newer.finish_texts(newer.claim_texts(), toxicity=0.3)

    monkeypatch.setattr(reflag, "_lock", busy)
    reflag_job(desk.database, job, thresholds=STRICT, blocklist=None)
    assert chunks == [0]
    for _ in range(7):
        newer.finish_texts(newer.claim_texts(), toxicity=0.3)
    assert flagged(desk, job) == [True] * 8


def test_a_new_blocklist_leaves_thresholds_that_came_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(desk)
    newer = Database(desk.database.url.render_as_string(hide_password=False), desk.database.engine)
    before_write(monkeypatch, desk.database, 1, lambda: reflag_job(newer, job, thresholds=LAX, blocklist=None))
    reflag_job(desk.database, job, thresholds=None, blocklist=("turnip",))
    assert (get_job(newer, job).thresholds, get_job(newer, job).blocklist) == (LAX, ("turnip",))
    assert flagged(desk, job) == stated(desk, job)


def test_where_nothing_is_scored_a_reflag_is_refused(desk: Desk) -> None:
    waiting, unscored = desk.submit(1), desk.submit(1, safety="none")
    desk.finish(desk.claim())
    desk.finish(desk.claim())
    for job, said in ((waiting, "no scored text yet"), (unscored, "--safety none")):
        with pytest.raises(UsageError, match=said):
            check_scored(desk.database, job)
    desk.finish_texts(desk.claim_texts())
    check_scored(desk.database, waiting)


@pytest.mark.parametrize("edited", [False, True])
def test_a_long_blocklist_is_made_ready_while_nothing_is_locked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    """An edit at every turn included: its late score, and its undo."""
    (output,) = desk.outputs_of([0.1], texts=["turnip soup"])
    job = desk.look(output).job_id
    other, compiled = Desk(Database(desk.database.url.render_as_string(hide_password=False), desk.database.engine)), 0

    class Slow(Blocklist):
        def __init__(self, words: Iterable[str]) -> None:
            nonlocal compiled
            compiled += 1
            (written,) = together([lambda: other.submit(1, safety="none")])  # waits for 30 s, and fails, while it is
            assert isinstance(written, int)
            super().__init__(words)

    monkeypatch.setattr("contract.blocklist.Blocklist", Slow)
    blocklist.compiled_blocklist.cache_clear()
    reflag_job(desk.database, job, thresholds=None, blocklist=("turnip", f"{edited}"))
    assert desk.look(output).reasons == ("blocklist:turnip",)
    if edited:
        for text, said in (("turnip", ("blocklist:turnip",)), ("carrot", ())):
            decide(desk.database, output, "anna", "edit", text=text)
            decide(desk.database, output, "anna", "reject")
            blocklist.compiled_blocklist.cache_clear()
            desk.score_edits()
            assert desk.look(output).reasons == said
            blocklist.compiled_blocklist.cache_clear()
            undo_twice(desk, output)
            assert desk.look(output).reasons == ("blocklist:turnip",)
    assert compiled == (5 if edited else 1)


def undo_twice(desk: Desk, output: int) -> None:
    for _ in range(2):
        undo(desk.database, "anna", output)


def test_many_reflags_at_once_end_with_the_flags_of_the_one_that_the_job_states(desk: Desk) -> None:
    job = job_of(desk)

    def flagging(policy: dict[str, float]) -> Callable[[], None]:
        def flag() -> None:
            for _ in range(4):
                reflag_job(desk.database, job, thresholds=policy, blocklist=None)

        return flag

    assert together([flagging(policy) for policy in (STRICT, LAX, STRICT, LAX)]) == [None] * 4
    assert flagged(desk, job) == stated(desk, job)
    assert unfinished_reflags(desk.database) == {}


def test_labels_that_are_not_named_keep_their_thresholds(desk: Desk) -> None:
    (output,) = desk.outputs_of([{"toxicity": 0.4, "insult": 0.5}], thresholds={"toxicity": 0.6, "insult": 0.2})
    job = desk.look(output).job_id
    reflag_job(desk.database, job, thresholds={"toxicity": 0.5}, blocklist=None)
    assert get_job(desk.database, job).thresholds == {"toxicity": 0.5, "insult": 0.2}
    assert desk.exported("clean") == []
    reflag_job(desk.database, job, thresholds={"toxicity": 0.6}, blocklist=None, reset=True)
    assert get_job(desk.database, job).thresholds == {"toxicity": 0.6}
    assert desk.exported("clean") == [output]


def test_two_reflags_at_once_that_name_other_labels_are_both_applied(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(desk)
    database = desk.database
    newer = Database(database.url.render_as_string(hide_password=False), database.engine)
    before_write(
        monkeypatch, database, 1, lambda: reflag_job(newer, job, thresholds={"insult": 0.1}, blocklist=None)
    )  # fmt: skip
    reflag_job(database, job, thresholds=STRICT, blocklist=None)
    assert get_job(desk.database, job).thresholds == STRICT | {"insult": 0.1}
