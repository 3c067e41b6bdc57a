"""The cores: one holder at a time, in the order of asking."""

from __future__ import annotations

import threading
import time

import pytest

from worker.runtime.core_lock import Cores


def test_two_never_hold_the_cores_at_once() -> None:
    cores, holders, most = Cores(shared=True), 0, 0

    def work() -> None:
        nonlocal holders, most
        for _ in range(50):
            with cores.held():
                holders += 1
                most = max(most, holders)
                time.sleep(0.0005)
                holders -= 1
                cores.give_way()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, holders) == (1, 0)


def test_a_thread_that_asks_again_at_once_comes_after_those_waiting() -> None:
    cores, order, started = Cores(shared=True), [], threading.Event()

    def greedy() -> None:
        for turn in range(3):
            with cores.held():
                order.append(f"greedy {turn}")
                started.set()
                while turn == 0 and not cores._queue:
                    time.sleep(0.001)

    def modest() -> None:
        started.wait(10)
        with cores.held():
            order.append("modest")

    threads = [threading.Thread(target=run) for run in (greedy, modest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert order == ["greedy 0", "modest", "greedy 1", "greedy 2"]


def test_an_error_gives_the_cores_back() -> None:
    cores = Cores(shared=True)
    with pytest.raises(ValueError, match="broken"), cores.held():
        raise ValueError("broken")
    with cores.held():
        pass


def test_where_nothing_is_shared_nobody_waits() -> None:
    cores = Cores(shared=False)
    with cores.held(), cores.held():
        cores.give_way()
