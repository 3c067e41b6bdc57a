"""Failures: whose they are, what restarts, and that nobody else's text changes by a byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import Tiny, run_all, settings

from worker.engine import scheduler
from worker.engine.engine import SlotEngine
from worker.engine.forward import Logits, Rows
from worker.engine.kv_cache import KVCache
from worker.engine.memory_blame import PAUSES, out_of_memory
from worker.engine.sequence import Fault, Request

POISON = "The river"


class Failing:
    """The model, with a failure of the test's choice before each forward pass."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.before: Callable[[list[int]], None] = lambda slots: None
        self.in_slot: dict[int, tuple[int, ...]] = {}  # the prompt that began there last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, rows: Rows, cache: KVCache) -> Logits:
        slots = list(dict.fromkeys(rows.slots.tolist()))
        for slot in slots:
            own = rows.slots == slot
            if rows.positions[own][0] == 0:
                self.in_slot[slot] = tuple(rows.tokens[own].tolist())
        self.before(slots)
        result: Logits = self._model.forward(rows, cache)
        return result


def requests(count: int = 9, poisoned: Sequence[int] = ()) -> list[Request]:
    own = settings(max_new_tokens=8, min_new_tokens=8)
    return [Request(i, POISON if i in poisoned else f"prompt {i}", own, i) for i in range(count)]


def failing_engine(tiny: Tiny, slots: int) -> tuple[SlotEngine, Failing]:
    engine, model = tiny.engine(slots), Failing(tiny.model)
    engine.model = model  # type: ignore[assignment]
    return engine, model


def faults_of(reports: dict[Any, Any]) -> dict[Any, Fault]:
    return {key: report for key, report in reports.items() if isinstance(report, Fault)}


def others_are_unchanged(tiny: Tiny, reports: dict[Any, Any], asked: list[Request]) -> bool:
    faults, right = faults_of(reports), run_all(tiny.engine(3), asked)
    assert set(reports) == set(right)
    return all(reports[key] == right[key] for key in reports if key not in faults)


def test_an_error_at_admission_belongs_to_that_request(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = tiny.vocabulary.encode

    def fail(text: str, *, chat: bool) -> list[int]:
        if text == POISON:
            raise RuntimeError("a tokenizer failed")
        return encode(text, chat=chat)

    monkeypatch.setattr(tiny.vocabulary, "encode", fail)
    reports = run_all(tiny.engine(4), requests(poisoned=[2, 6]))
    monkeypatch.undo()
    assert faults_of(reports) == {key: Fault(key, "RuntimeError: a tokenizer failed", certain=False) for key in (2, 6)}
    assert others_are_unchanged(tiny, reports, requests(poisoned=[2, 6]))


def test_an_error_in_a_rows_own_sampling_belongs_to_that_request(tiny: Tiny) -> None:
    own = settings(max_new_tokens=9, min_new_tokens=9)
    engine = tiny.engine(5)
    engine.add([*requests(4), Request("own", "x", own, 1)])
    engine.step()
    (bad,) = (running for running in engine._running.values() if running.sequence.request.key == "own")
    bad.state._eos = np.array([10**9], np.int32)  # spoil its sampling state: there is no such token to ban
    reports = run_all(engine)
    assert list(faults_of(reports)) == ["own"]
    assert "IndexError" in reports["own"].reason
    assert not reports["own"].certain
    right = run_all(tiny.engine(1), requests(4))
    assert all(reports[key] == right[key] for key in range(4))


@pytest.mark.parametrize("poisoned", [[0], [4], [8], [1, 2], [0, 4, 8], list(range(9))])
def test_a_shared_step_that_fails_charges_only_those_that_fail_alone(tiny: Tiny, poisoned: list[int]) -> None:
    engine, model = failing_engine(tiny, 6)
    poison = tuple(tiny.vocabulary.encode(POISON))

    def fail(slots: list[int]) -> None:
        if any(model.in_slot[slot] == poison for slot in slots):
            raise RuntimeError("illegal instruction")

    model.before = fail
    reports = run_all(engine, requests(poisoned=poisoned))
    assert sorted(faults_of(reports)) == poisoned
    assert all(not fault.certain for fault in faults_of(reports).values())
    assert others_are_unchanged(tiny, reports, requests(poisoned=poisoned))
    assert (engine.slots, engine.pending, engine.active) == (6, 0, 0)


def test_a_failure_that_happens_once_charges_nobody(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 5)
    calls = 0

    def fail(slots: list[int]) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("a cosmic ray")

    model.before = fail
    reports = run_all(engine, requests())
    assert not faults_of(reports)
    assert others_are_unchanged(tiny, reports, requests())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_halves_the_slots_and_charges_nobody(tiny: Tiny, error: Exception) -> None:
    engine, model = failing_engine(tiny, 8)

    def fail(_: list[int]) -> None:
        if engine.active > 3:
            raise error

    model.before = fail
    reports = run_all(engine, requests())
    assert not faults_of(reports)
    assert engine.slots == 2
    assert others_are_unchanged(tiny, reports, requests())


def test_slots_that_memory_took_come_back_and_no_text_changes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "QUIET_STEPS", 3)
    engine, model = failing_engine(tiny, 8)
    errors = [torch.OutOfMemoryError("CUDA out of memory")] * 2

    def fail(_: list[int]) -> None:
        if engine.active > 1 and errors:
            raise errors.pop()

    model.before = fail
    asked = requests(40)
    reports = run_all(engine, asked)
    assert (engine.slots, errors) == (8, [])
    assert not faults_of(reports)
    assert others_are_unchanged(tiny, reports, asked)


def test_out_of_memory_with_one_slot_and_one_sequence_is_a_fault_of_that_request(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 4)
    poison = tuple(tiny.vocabulary.encode(POISON))

    def fail(slots: list[int]) -> None:
        if any(model.in_slot[slot] == poison for slot in slots):
            raise torch.OutOfMemoryError("out of memory")

    model.before = fail
    reports = run_all(engine, requests(poisoned=[3]))
    assert list(faults_of(reports)) == [3]
    assert "out of memory" in reports[3].reason
    assert engine.slots == 4
    assert others_are_unchanged(tiny, reports, requests(poisoned=[3]))


def test_memory_that_is_away_for_a_while_charges_nobody_and_is_waited_for(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 4)
    away, pauses = 30, []

    def fail(_: list[int]) -> None:
        nonlocal away
        if away:
            away -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.before = fail
    engine.add(requests())
    while away:
        assert not engine.step()
        pauses.append(engine.pause)
    assert pauses[:2] == [0, 0]
    assert min(pauses[2:]) > 0
    assert sum(pauses) > 60
    reports = run_all(engine)
    assert not faults_of(reports)
    assert engine.pause == 0
    assert others_are_unchanged(tiny, reports, requests())


def test_a_request_that_nobody_can_be_compared_with_is_charged_after_many_tries(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 1)
    tries = 0

    def fail(_: list[int]) -> None:
        nonlocal tries
        tries += 1
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.before = fail
    assert list(faults_of(run_all(engine, requests(1)))) == [0]
    assert tries == len(PAUSES) + 1


def test_slots_do_not_grow_while_one_that_found_no_memory_is_undecided(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "QUIET_STEPS", 2)  # less than a text takes
    engine, model = failing_engine(tiny, 2)
    poison = tuple(tiny.vocabulary.encode(POISON))

    def fail(slots: list[int]) -> None:
        if any(model.in_slot[slot] == poison for slot in slots):
            raise torch.OutOfMemoryError("out of memory")

    model.before = fail
    engine.add(requests(4, poisoned=[0]))
    reports = [report for _ in range(200) for report in engine.step()]
    assert sorted((report.key, isinstance(report, Fault)) for report in reports) == [
        (0, True), (1, False), (2, False), (3, False)
    ]  # fmt: skip
    assert engine.slots == 2


def test_memory_that_lasts_for_some_steps_and_no_text_charges_nobody_before_a_minute_is_over(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 1)
    steps, waited = 0, 0.0

    def fail(_: list[int]) -> None:
        nonlocal steps
        steps += 1
        if steps % 4 == 0:
            raise torch.OutOfMemoryError("out of memory")

    model.before = fail
    engine.add(requests(3))
    while not engine.step():
        waited += engine.pause
    assert waited >= 60


def test_a_slot_that_does_not_fit_for_a_while_is_waited_for(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 1)
    new_cache, tries = tiny.model.new_cache, iter(range(100))

    def later(slots: int) -> KVCache:
        if next(tries) < len(PAUSES):
            raise MemoryError
        return new_cache(slots)

    model.new_cache = later  # type: ignore[attr-defined]
    assert not faults_of(run_all(engine, requests(2)))


def test_a_cache_that_does_not_fit_gets_fewer_slots(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 8)
    new_cache = tiny.model.new_cache

    def too_large(slots: int) -> KVCache:
        if slots > 2:
            raise MemoryError
        return new_cache(slots)

    model.new_cache = too_large  # type: ignore[attr-defined]
    assert not faults_of(run_all(engine, requests()))
    assert engine.slots == 2


def test_a_cache_that_never_fits_is_an_error_of_the_engine(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 2)

    def never(slots: int) -> KVCache:
        raise MemoryError("no memory for the cache")

    model.new_cache = never  # type: ignore[attr-defined]
    engine.add(requests(1))
    with pytest.raises(MemoryError, match="cache"):
        run_all(engine)


def test_what_was_cancelled_during_a_trial_never_returns(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 4)
    calls = 0

    def fail(slots: list[int]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("once")

    model.before = fail
    engine.add(requests(6))
    for _ in range(3):
        engine.step()
    engine.cancel([0, 3, 5])
    assert set(run_all(engine)) == {1, 2, 4}


def test_only_memory_errors_count_as_out_of_memory() -> None:
    assert not out_of_memory(RuntimeError("shape mismatch"))
    assert not out_of_memory(ValueError("out of memory"))


def test_faults_that_came_before_a_failure_in_the_same_step_are_reported(tiny: Tiny) -> None:
    engine, model = failing_engine(tiny, 4)

    def fail(slots: list[int]) -> None:
        raise RuntimeError("always")

    model.before = fail
    too_long = Request("long", "x", settings(max_new_tokens=1000), 0)
    engine.add([*requests(1), too_long])
    reports = engine.step()
    assert [(type(report), report.key) for report in reports] == [(Fault, "long"), (Fault, 0)]


def test_a_lost_device_ends_the_engine_and_charges_no_request(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny.engine(4)
    engine.add(Request(number, "Once", settings(max_new_tokens=4), number) for number in range(8))
    forward, calls = engine.model.forward, iter(range(100))

    def lost(*arguments: Any) -> Logits:
        if next(calls) > 3:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return forward(*arguments)

    monkeypatch.setattr(engine.model, "forward", lost)
    reports: list[Any] = []

    def run() -> None:
        while engine.pending:
            reports.extend(engine.step())

    with pytest.raises(torch.AcceleratorError):
        run()
    assert not any(isinstance(report, Fault) for report in reports)
