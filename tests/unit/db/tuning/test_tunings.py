"""Tunings in SQL: claimed by one worker at a time, fenced by their lease, and never lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from contract.errors import NoSuchTuning, UsageError
from contract.spec import TuningStatus
from db.session.engine import Database
from db.tuning.claims import (
    DEATHS_BEFORE_FAILED,
    TuningClaim,
    claim_tuning,
    fail_tuning,
    mark_tuning_death,
    pause_tuning,
    release_tuning,
    release_worker_tunings,
    renew_tuning,
    settle_device,
    sweep_tunings,
    waiting_tunings,
)
from db.tuning.progress import SAMPLES, TRAIN, VALIDATION, Point, curve, save_progress
from db.tuning.tunings import (
    NewTuning,
    cancel_tuning,
    fail_unclaimed,
    find_tuning,
    insert_tuning,
    is_reference,
    list_tunings,
    retry_tuning,
    unfinished_in_folders,
    unfinished_tunings,
)
from db.tuning_models import Tuning
from db.work.lease import LeaseLost

LEASE = 3600.0
KILLED = "was killed by signal 9"


def order(database: Database, name: str = "tales", **said: str) -> int:
    """A stored tuning's number."""
    return insert_tuning(database, NewTuning(name=name, base="demo", order={"seed": 3}, folder="/x/.tunings/1", **said))


def claim(database: Database, worker: str = "w", device: str = "cpu") -> TuningClaim:
    found = claim_tuning(database, worker, device, LEASE)
    assert found is not None, "there is nothing to claim"
    return found


def status(database: Database, number: int) -> TuningStatus:
    return find_tuning(database, number).status


def expire(database: Database, number: int) -> None:
    with database.write() as connection:
        connection.execute(update(Tuning).where(Tuning.id == number).values(lease_until=1.0))


def test_a_tuning_is_found_by_what_people_call_it(database: Database) -> None:
    number = order(database)
    found = find_tuning(database, f"t{number}")
    assert (found.id, found.reference, found.name, found.order) == (number, "t1", "tales", {"seed": 3})
    assert (found.status, found.model, found.finished) == (TuningStatus.QUEUED, None, False)
    for unknown in ("t2", 7, "t0", "tales", "t1x"):
        with pytest.raises(NoSuchTuning):
            find_tuning(database, unknown)
    assert [is_reference(word) for word in ("t1", "1", "t", "tales")] == [True, False, False, False]


def test_the_newest_tunings_come_first(database: Database) -> None:
    first, second, third = order(database), order(database), order(database)
    assert [one.id for one in list_tunings(database)] == [third, second, first]
    assert [one.id for one in list_tunings(database, before=third, limit=1)] == [second]
    cancel_tuning(database, second)
    assert [one.id for one in unfinished_tunings(database)] == [first, third]


def test_a_tuning_is_claimed_by_workers_of_its_device_alone(database: Database) -> None:
    number = order(database, device="cuda")
    assert claim_tuning(database, "w", "cpu", LEASE) is None
    assert [one.tuning_id for one in waiting_tunings(database, "cuda:1")] == [number]
    taken = claim(database, device="cuda:1")
    assert (taken.tuning_id, taken.name, taken.base, taken.folder) == (number, "tales", "demo", "/x/.tunings/1")
    assert (status(database, number), waiting_tunings(database, "cuda:1")) == (TuningStatus.RUNNING, [])
    assert find_tuning(database, number).started_at is not None


def test_a_tuning_that_began_on_some_device_is_for_workers_of_that_kind_alone(database: Database) -> None:
    number = order(database)
    held = claim(database, device="cuda:0")
    settle_device(database, held, "cuda")
    release_tuning(database, held)
    assert (find_tuning(database, number).device, waiting_tunings(database, "cpu")) == ("cuda", [])
    assert claim(database, device="cuda:1").tuning_id == number
    with pytest.raises(LeaseLost):
        settle_device(database, held, "cpu")
    asked = order(database, device="cuda:1")
    settle_device(database, claim(database, device="cuda:1"), "cuda")
    assert find_tuning(database, asked).device == "cuda:1"


def test_the_newest_one_without_a_model_is_found_among_those_that_were_asked_for_alike(database: Database) -> None:
    def ordered(folder: str) -> int:
        return insert_tuning(database, NewTuning(name="my_tales", base="demo", order={}, folder=folder))

    def found() -> int | None:
        tuning = unfinished_in_folders(database, "my_tales-00ff")
        return None if tuning is None else tuning.id

    first, second = ordered("my_tales-00ff"), ordered("my_tales-00ff-1234")
    for other in ("my-tales-00ff-1234", "my_tales-00ff0", "my_tales-00"):
        ordered(other)
    assert found() == second
    fail_tuning(database, claim(database), "killed", "killed-worker")
    fail_tuning(database, claim(database), "the corpus is of another base", "usage")
    assert [status(database, one) for one in (first, second)] == [TuningStatus.FAILED] * 2
    assert found() == first  # what is at fault with the second would be again
    cancel_tuning(database, ordered("my_tales-00ff-5678"))
    assert found() == 6


def test_a_worker_takes_only_what_lies_on_its_machine(database: Database) -> None:
    first, second = order(database), order(database)
    assert claim_tuning(database, "w", "cpu", LEASE, among=()) is None
    taken = claim_tuning(database, "w", "cpu", LEASE, among=(second,))
    assert taken and (taken.tuning_id, status(database, first)) == (second, TuningStatus.QUEUED)


def test_workers_that_claim_at_once_get_a_tuning_each(database: Database) -> None:
    numbers = {order(database) for _ in range(6)}
    with ThreadPoolExecutor(8) as workers:
        claims = list(workers.map(lambda n: claim_tuning(database, f"w{n}", "cpu", LEASE), range(8)))
    taken = [one.tuning_id for one in claims if one]
    # Whoever found the first ones locked may have come away with nothing; nobody shares.
    assert len(taken) == len(set(taken))
    while more := claim_tuning(database, "late", "cpu", LEASE):
        taken.append(more.tuning_id)
    assert sorted(taken) == sorted(numbers)


def test_what_a_stale_worker_saves_changes_nothing(database: Database) -> None:
    number = order(database)
    stale = claim(database, "gone")
    expire(database, number)
    assert sweep_tunings(database) == 1
    assert sweep_tunings(database) == 0
    fresh = claim(database, "here")
    acts: list[Callable[[], object]] = [
        lambda: save_progress(database, stale, {"step": 1}, [Point(step=1, kind=TRAIN, values={"loss": 1.0})]),
        lambda: fail_tuning(database, stale, "no"),
        lambda: pause_tuning(database, stale, "no"),
    ]
    for act in acts:
        with pytest.raises(LeaseLost):
            act()
    release_tuning(database, stale)
    assert not renew_tuning(database, stale, LEASE)
    assert renew_tuning(database, fresh, LEASE)
    assert (status(database, number), curve(database, number)) == (TuningStatus.RUNNING, [])


def test_a_worker_that_is_late_and_not_replaced_keeps_its_tuning(database: Database) -> None:
    number = order(database)
    late = claim(database)
    expire(database, number)
    assert renew_tuning(database, late, LEASE)
    assert sweep_tunings(database) == 0


def test_a_tuning_that_nobody_has_is_cancelled_at_once(database: Database) -> None:
    number = order(database)
    cancel_tuning(database, number)
    assert status(database, number) == TuningStatus.CANCELLED
    assert find_tuning(database, number).finished_at
    with pytest.raises(UsageError, match="already cancelled"):
        cancel_tuning(database, number)
    assert claim_tuning(database, "w", "cpu", LEASE) is None


@pytest.mark.parametrize("how", ["released", "failed", "died", "left", "expired"])
def test_a_worker_sees_that_its_tuning_was_cancelled_and_however_it_ends_it_is_cancelled(
    database: Database, how: str
) -> None:
    number = order(database)
    held = claim(database)
    cancel_tuning(database, number)
    cancel_tuning(database, number)  # twice is once
    assert status(database, number) == TuningStatus.CANCELLING
    assert not renew_tuning(database, held, LEASE)
    if how == "released":
        release_tuning(database, held)
    elif how == "failed":
        fail_tuning(database, held, "it broke on its way out")
    elif how == "died":
        mark_tuning_death(database, "w", KILLED)
    elif how == "left":
        release_worker_tunings(database, "w")
    else:
        expire(database, number)
        sweep_tunings(database)
    ended = find_tuning(database, number)
    assert (ended.status, ended.error, ended.worker) == (TuningStatus.CANCELLED, None, None)
    assert ended.finished_at


def test_a_tuning_whose_process_dies_goes_on_and_is_given_up_where_it_gets_no_further(database: Database) -> None:
    number = order(database)
    for _ in range(DEATHS_BEFORE_FAILED - 1):
        claim(database)
        assert mark_tuning_death(database, "w", KILLED) == 1
        assert status(database, number) == TuningStatus.QUEUED
    save_progress(database, claim(database), {"step": 5}, [Point(step=5, kind=TRAIN, values={"loss": 3.0})])
    for _ in range(DEATHS_BEFORE_FAILED):
        mark_tuning_death(database, "w", KILLED)
        if status(database, number) == TuningStatus.QUEUED:  # the same step again is no further
            save_progress(database, claim(database), {"step": 5}, [Point(step=5, kind=TRAIN, values={"loss": 3.0})])
    failed = find_tuning(database, number)
    assert (failed.status, failed.code) == (TuningStatus.FAILED, "killed-worker")
    assert failed.error and "was killed by signal 9 5 times in a row" in failed.error


def test_a_worker_that_leaves_in_order_charges_nothing(database: Database) -> None:
    number = order(database)
    claim(database)
    assert release_worker_tunings(database, "w") == 1
    given = find_tuning(database, number)
    assert (given.status, given.deaths) == (TuningStatus.QUEUED, 0)


def test_a_tuning_that_others_died_over_comes_last(database: Database) -> None:
    first, second = order(database), order(database)
    claim(database)
    mark_tuning_death(database, "w", KILLED)
    assert [claim(database).tuning_id for _ in range(2)] == [second, first]


def test_a_tuning_that_failed_or_is_paused_is_retried(database: Database) -> None:
    number = order(database)
    pause_tuning(database, claim(database), "the disk is full", "disk-full")
    paused = find_tuning(database, number)
    assert (paused.status, paused.error, paused.code) == (TuningStatus.PAUSED, "the disk is full", "disk-full")
    assert (paused.finished_at, claim_tuning(database, "w", "cpu", LEASE)) == (None, None)
    retry_tuning(database, number)
    fail_tuning(database, claim(database), "the base model is away", "no-model")
    assert find_tuning(database, number).finished_at
    retry_tuning(database, number, owner="here")
    again = find_tuning(database, number)
    assert (again.status, again.error, again.code, again.finished_at) == (TuningStatus.QUEUED, None, None, None)
    with pytest.raises(UsageError, match=f"tuning t{number} is queued"):
        retry_tuning(database, number)


def test_a_stack_ends_only_what_it_ordered_itself(database: Database) -> None:
    number = order(database, owner="here")
    assert not fail_unclaimed(database, number, "no model", owner="elsewhere")
    assert fail_unclaimed(database, number, "no model", owner="here")
    assert status(database, number) == TuningStatus.FAILED
    assert not fail_unclaimed(database, number, "no model", owner="here")


def test_curves_and_samples_are_kept_and_a_step_shown_again_takes_its_place(database: Database) -> None:
    number = order(database)
    held = claim(database)
    points = [
        Point(step=2, kind=VALIDATION, values={"loss": 4.0}),
        Point(step=2, kind=SAMPLES, values={"samples": ["a\nb"]}),
        Point(step=1, kind=TRAIN, values={"loss": 5.0}),
    ]
    save_progress(database, held, {"step": 2, "eta_seconds": 9}, points)
    save_progress(database, held, points=[Point(step=2, kind=VALIDATION, values={"loss": 3.5})])
    assert curve(database, number) == [
        points[2], points[1], Point(step=2, kind=VALIDATION, values={"loss": 3.5})
    ]  # fmt: skip
    assert curve(database, number, [TRAIN]) == [points[2]]
    assert find_tuning(database, number).progress == {"step": 2, "eta_seconds": 9}
