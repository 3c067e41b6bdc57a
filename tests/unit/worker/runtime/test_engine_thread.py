"""The thread that owns the engine, around a stub engine."""

from __future__ import annotations

import time

from structlog.testing import capture_logs

from contract.spec import SamplingSettings
from tests.unit.worker.stub_engine import StubEngine
from worker.engine.sequence import Completion, Fault, Request
from worker.runtime.core_lock import Cores
from worker.runtime.engine_thread import Feeder
from worker.runtime.watchdog import Watchdog


class ShrinkingEngine(StubEngine):
    """Runs out of memory at its first step."""

    def step(self) -> list[Completion | Fault]:
        self.slots = 2
        return super().step()


def test_fewer_slots_after_running_out_of_memory_are_logged_once() -> None:
    feeder = Feeder(ShrinkingEngine(slots=4), Watchdog(60), Cores(shared=False), die=lambda: None)  # type: ignore[arg-type]
    intake = feeder.intake()
    intake.add(Request(key=i, prompt=f"p{i}", settings=SamplingSettings(), seed=i) for i in range(6))
    with capture_logs() as logs:
        feeder.start()
        results = [result for result in intake.results(patience=5) if result is not None]
    assert len(results) == 6
    told = [{"slots": line["slots"], "before": line["before"]} for line in logs if "slots" in line]
    assert told == [{"slots": 2, "before": 4}]


class StarvedEngine(StubEngine):
    """Finds memory for nobody at its first steps, at last not even for an empty slot."""

    starved = 2

    def step(self) -> list[Completion | Fault]:
        if self.starved:
            self.starved, self.pause = self.starved - 1, 0.4
            if not self.starved:
                raise MemoryError
            return []
        self.pause = 0.0
        return super().step()


def test_commands_are_obeyed_while_the_engine_waits_for_memory() -> None:
    engine = StarvedEngine()
    feeder = Feeder(engine, Watchdog(60), Cores(shared=False), die=lambda: None)  # type: ignore[arg-type]
    first, second = feeder.intake(), feeder.intake()
    first.add([Request(key=0, prompt="kept", settings=SamplingSettings(), seed=0)])
    second.add([Request(key=0, prompt="dropped", settings=SamplingSettings(), seed=0)])
    start = time.monotonic()
    feeder.start()
    while not engine.pause:
        time.sleep(0.01)
    second.drop()
    assert time.monotonic() - start < 0.4
    assert len([result for result in first.results(patience=5) if result is not None]) == 1
    assert time.monotonic() - start >= 0.8
    assert engine.seen == ["kept"]
