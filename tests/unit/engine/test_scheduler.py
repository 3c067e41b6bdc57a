"""Who gets a slot, without a model: queues, slots, halves and shrinking."""

import subprocess
import sys

import pytest

from contract.spec import SamplingSettings
from worker.engine.scheduler import QUIET_STEPS, SlotScheduler
from worker.engine.sequence import Request


def request(key: int) -> Request:
    return Request(key, "", SamplingSettings(), 0)


def scheduler_of(count: int, slots: int) -> SlotScheduler:
    scheduler = SlotScheduler(slots)
    scheduler.add(request(key) for key in range(count))
    return scheduler


def admit_all(scheduler: SlotScheduler) -> dict[int, int]:
    """The slots given and the keys they went to."""
    given = {}
    while admitted := scheduler.admit():
        given[admitted[0]] = admitted[1].key
    return given


def test_requests_get_slots_in_the_order_they_came() -> None:
    scheduler = scheduler_of(5, slots=3)
    assert admit_all(scheduler) == {0: 0, 1: 1, 2: 2}
    assert (scheduler.active, scheduler.free, scheduler.pending) == (3, 0, 5)


def test_a_released_slot_goes_to_the_next_request() -> None:
    scheduler = scheduler_of(5, slots=3)
    admit_all(scheduler)
    scheduler.release(1)
    assert admit_all(scheduler) == {1: 3}


def test_a_key_that_is_held_already_is_refused_and_nothing_is_added() -> None:
    scheduler = scheduler_of(2, slots=1)
    admit_all(scheduler)
    for key in (0, 1):
        with pytest.raises(ValueError, match="already holds"):
            scheduler.add([request(7), request(key)])
    with pytest.raises(ValueError, match="already holds"):
        scheduler.add([request(7), request(7)])
    assert scheduler.pending == 2


def test_cancel_reaches_waiting_active_and_quarantined_requests() -> None:
    scheduler = scheduler_of(6, slots=4)
    admit_all(scheduler)
    assert scheduler.split() is None
    admit_all(scheduler)  # 0 and 1 are on trial, 2 and 3 in quarantine, 4 and 5 wait
    assert scheduler.cancel([1, 2, 5, "unknown"]) == [1]
    assert scheduler.pending == 3
    scheduler.release(0)
    assert admit_all(scheduler) == {0: 3}


def test_one_slot_is_the_fewest() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SlotScheduler(0)


def test_after_a_shared_failure_each_half_runs_with_nobody_else() -> None:
    scheduler = scheduler_of(7, slots=4)
    admit_all(scheduler)
    assert scheduler.split() is None
    assert sorted(admit_all(scheduler).values()) == [0, 1]
    scheduler.release(0)
    assert admit_all(scheduler) == {}  # the second half waits until the first one is done
    scheduler.release(1)
    assert sorted(admit_all(scheduler).values()) == [2, 3]
    scheduler.release(0)
    scheduler.release(1)
    assert sorted(admit_all(scheduler).values()) == [4, 5, 6]


@pytest.mark.parametrize("guilty", range(9))
def test_halving_finds_the_one_that_fails_and_charges_nobody_else(guilty: int) -> None:
    scheduler = scheduler_of(9, slots=9)
    charged, finished = [], []
    while scheduler.pending:
        given = admit_all(scheduler)
        if guilty in given.values():
            if (blamed := scheduler.split()) is not None:
                charged.append(blamed.key)
        else:
            finished += given.values()
            for slot in given:
                scheduler.release(slot)
    assert charged == [guilty]
    assert sorted([*finished, guilty]) == list(range(9))


def test_out_of_memory_halves_the_slots_and_the_interrupted_wait_first_in_line() -> None:
    scheduler = scheduler_of(6, slots=4)
    admit_all(scheduler)
    assert scheduler.shrink() is None
    assert (scheduler.slots, scheduler.active, scheduler.pending) == (2, 0, 6)
    assert admit_all(scheduler) == {0: 0, 1: 1}


def shrunk_to_one() -> SlotScheduler:
    scheduler = scheduler_of(3, slots=2)
    admit_all(scheduler)
    assert scheduler.shrink() is None
    assert admit_all(scheduler) == {0: 0}
    return scheduler


def test_one_that_finds_no_memory_alone_waits_behind_one_other_and_is_charged_where_that_is_finished() -> None:
    scheduler = shrunk_to_one()
    assert scheduler.shrink() is None
    assert scheduler.pause > 0
    assert admit_all(scheduler) == {0: 1}
    scheduler.grow()
    assert scheduler.pause == 0
    scheduler.release(0)
    assert admit_all(scheduler) == {0: 0}
    charged = scheduler.shrink()
    assert charged is not None
    assert (charged.key, scheduler.slots, scheduler.pending) == (0, 2, 1)


def test_where_nobody_finds_memory_each_gets_its_turn_and_nobody_is_charged() -> None:
    scheduler, turns = shrunk_to_one(), [0]
    for _ in range(8):
        assert scheduler.shrink() is None
        turns += admit_all(scheduler).values()
    assert min(turns.count(key) for key in range(3)) >= 2


def test_two_guilty_ones_in_a_row_hold_up_nobody_for_long() -> None:
    scheduler, finished, charged = shrunk_to_one(), list[object](), list[object]()
    for _ in range(20):
        (request,) = scheduler._active.values()
        if request.key in (0, 1):
            guilty = scheduler.shrink()
            charged += [guilty.key] if guilty else []
        else:
            scheduler.grow()
            scheduler.release(0)
            finished.append(request.key)
        if not scheduler.pending:
            break
        scheduler.slots = 1
        admit_all(scheduler)
    assert finished == [2]
    assert sorted(charged, key=str) == [0, 1]


def test_another_that_failed_itself_shows_no_memory() -> None:
    scheduler = shrunk_to_one()
    scheduler.shrink()
    admit_all(scheduler)
    scheduler.release(0, finished=False)
    assert admit_all(scheduler) == {0: 0}
    assert scheduler.shrink() is None


def grown_after(scheduler: SlotScheduler) -> int:
    """How many steps that go well it takes until there are more slots."""
    return next(steps for steps in range(1, 100_000) if scheduler.grow())


def test_slots_come_back_when_memory_was_enough_for_long_and_the_interrupted_wait_first_in_line() -> None:
    scheduler = scheduler_of(9, slots=8)
    admit_all(scheduler)
    scheduler.shrink()
    scheduler.shrink()
    assert admit_all(scheduler) == {0: 0, 1: 1}
    assert (grown_after(scheduler), scheduler.slots, scheduler.active) == (QUIET_STEPS, 4, 0)
    assert admit_all(scheduler) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert (grown_after(scheduler), scheduler.slots) == (QUIET_STEPS, 8)
    assert not any(scheduler.grow() for _ in range(5 * QUIET_STEPS))  # never more than in the beginning


def test_slots_that_do_not_fit_are_tried_more_and_more_seldom() -> None:
    scheduler = scheduler_of(9, slots=8)
    waits = []
    for _ in range(4):
        admit_all(scheduler)
        scheduler.shrink()
        waits.append(grown_after(scheduler))
        scheduler.grow()
    assert waits == [QUIET_STEPS << times for times in range(4)]
    for _ in range(waits[-1]):
        scheduler.grow()
    scheduler.shrink()  # after a long time without trouble: another one
    assert grown_after(scheduler) == QUIET_STEPS


def test_no_slots_come_back_while_a_guilty_one_is_looked_for() -> None:
    scheduler = scheduler_of(9, slots=8)
    admit_all(scheduler)
    scheduler.split()
    admit_all(scheduler)
    scheduler.shrink()
    assert not any(scheduler.grow() for _ in range(5 * QUIET_STEPS))


def test_running_out_of_memory_in_quarantine_keeps_the_group_together() -> None:
    scheduler = scheduler_of(5, slots=4)
    admit_all(scheduler)
    scheduler.split()
    admit_all(scheduler)
    scheduler.shrink()
    assert sorted(admit_all(scheduler).values()) == [0, 1]


def test_sequence_and_scheduler_load_without_torch() -> None:
    code = "import sys, worker.engine.scheduler, worker.engine.sequence; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_request_that_is_put_back_is_the_next_one_again() -> None:
    scheduler = SlotScheduler(2)
    scheduler.add([Request(key, "", SamplingSettings(), 0) for key in "abc"])
    admitted = [scheduler.admit(), scheduler.admit()]
    assert [request.key for _, request in filter(None, admitted)] == ["a", "b"]
    scheduler.put_back(1)
    assert (scheduler.active, scheduler.pending) == (1, 3)
    slot, request = scheduler.admit() or (None, None)
    assert (slot, request and request.key) == (1, "b")
