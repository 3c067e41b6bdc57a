"""Turns, the watchdog and the lease keeper, each with real threads and real time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from contract.spec import JobSpec, PromptRow
from db.jobs.ingest import Ingest
from db.session.engine import Database
from db.work.claims import Ability, claim_generation, release_claim
from db.work.recovery import sweep
from worker.runtime.lease import LeaseKeeper
from worker.runtime.quarantine import Turns
from worker.runtime.watchdog import HANG_EXIT, Watchdog

ABILITY = Ability(worker="w", model="demo", revision="r", dtype="fp32", device="cpu")


def test_ordinary_batches_run_together() -> None:
    turns = Turns()
    with turns.together() as first, turns.together() as second:
        assert first
        assert second


def test_a_suspect_waits_for_running_batches_and_keeps_new_ones_out() -> None:
    turns, order, stopping = Turns(), [], threading.Event()

    def suspect() -> None:
        with turns.alone(stopping) as granted:
            order.append(("suspect", granted))

    with turns.together():
        thread = threading.Thread(target=suspect)
        thread.start()
        while not turns.suspect_waits:
            time.sleep(0.01)
        with turns.together() as granted:
            assert not granted
        order.append(("others", True))
    thread.join(5)
    assert order == [("others", True), ("suspect", True)]
    with turns.together() as granted:
        assert granted


def test_two_suspects_never_run_at_once() -> None:
    turns, stopping = Turns(), threading.Event()
    with turns.alone(stopping) as first, turns.alone(stopping) as second, turns.together() as third:
        assert (first, second, third) == (True, False, False)


def test_a_stop_ends_a_suspects_wait() -> None:
    turns, stopping = Turns(), threading.Event()
    with turns.together():
        stopping.set()
        with turns.alone(stopping) as granted:
            assert not granted


def test_a_step_that_hangs_ends_the_process_with_its_own_status() -> None:
    ended = threading.Event()
    seen: list[int] = []

    def end(status: int) -> None:
        seen.append(status)
        ended.set()

    watchdog = Watchdog(0.2, end)
    watchdog.start()
    with watchdog.step("engine"):
        assert ended.wait(5)
    assert seen == [HANG_EXIT]


def test_a_hung_step_that_blocks_all_threads_ends_the_process_too() -> None:
    hanging = """
import ctypes
from worker.runtime.watchdog import Watchdog
watchdog = Watchdog(1.0)
watchdog.arm()
watchdog.start()
with watchdog.step("engine"):
    ctypes.PyDLL(None).sleep(50)  # with Python's global lock in its hand
"""
    done = subprocess.run([sys.executable, "-c", hanging], capture_output=True, text=True, timeout=40)
    assert done.returncode == 1
    assert "Timeout" in done.stderr  # and what every thread was doing


def test_a_process_that_was_stopped_in_the_middle_of_a_step_is_not_ended() -> None:
    working = """
import sys
from worker.runtime.watchdog import Watchdog
watchdog = Watchdog(1.0)
watchdog.arm()
watchdog.start()
with watchdog.step("engine"):
    print("at work", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", working], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.4)  # less than twice the limit
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)  # in which the watchdog looks twice
        assert process.poll() is None
        assert process.wait(10) == HANG_EXIT, "a step that hangs after that is still noticed"


def test_an_idle_process_is_not_ended_after_celery_replaced_standard_error() -> None:
    living = """
import io, sys, time
from worker.runtime.watchdog import Watchdog
watchdog = Watchdog(0.4)
watchdog.arm()
watchdog.start()
time.sleep(0.05)
sys.stderr = io.StringIO()  # without a file's number, as Celery's stand-in
time.sleep(2.0)  # longer than twice the limit, which no step reached
"""
    done = subprocess.run([sys.executable, "-c", living], capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")


def test_steps_that_end_or_give_signs_of_life_do_not_count_as_hung() -> None:
    watchdog = Watchdog(0.3, lambda status: None)
    with watchdog.step("scorer"):
        for _ in range(5):
            time.sleep(0.1)
            watchdog.touch("scorer")
            assert watchdog.overdue() is None
    time.sleep(0.4)
    assert watchdog.overdue() is None


def claimed(database: Database, lease: float) -> object:
    spec = JobSpec(name="t", fingerprint="f", model="demo", safety="none", seed=1)
    ingest = Ingest(database, spec)
    ingest.write([PromptRow(position=0, prompt="a", n=1)])
    ingest.finish()
    return claim_generation(database, ABILITY, lease)


def test_a_lease_is_renewed_for_as_long_as_the_work_advances(database: Database, tmp_path: Path) -> None:
    claim = claimed(database, 0.6)
    keeper = LeaseKeeper(database, 0.6, lambda: True)
    keeper.start()
    with keeper.hold(claim) as lease:  # type: ignore[arg-type]
        time.sleep(1.5)
        assert sweep(database) == 0
        assert not lease.lost.is_set()
    keeper.stop()


def test_a_worker_that_no_longer_advances_lets_its_lease_run_out(database: Database) -> None:
    claim = claimed(database, 0.4)
    keeper = LeaseKeeper(database, 0.4, lambda: False)
    keeper.start()
    with keeper.hold(claim):  # type: ignore[arg-type]
        time.sleep(0.8)
        assert sweep(database) == 1
    keeper.stop()


def test_a_lost_lease_is_reported_to_its_holder(database: Database) -> None:
    claim = claimed(database, 0.4)
    keeper = LeaseKeeper(database, 0.4, lambda: True)
    keeper.start()
    with keeper.hold(claim) as lease:  # type: ignore[arg-type]
        release_claim(database, claim)  # type: ignore[arg-type]
        assert lease.lost.wait(3)
    keeper.stop()
