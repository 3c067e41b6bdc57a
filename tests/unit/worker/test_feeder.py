"""The thread that owns the engine, around a stub engine."""

from __future__ import annotations

from structlog.testing import capture_logs

from contract.spec import SamplingSettings
from tests.unit.worker.stub_engine import StubEngine
from worker.cores import Cores
from worker.engine.sequence import Completion, Fault, Request
from worker.feeder import Feeder
from worker.watchdog import Watchdog


class ShrinkingEngine(StubEngine):
    """Runs out of memory at its first step."""

    def step(self) -> list[Completion | Fault]:
        self.slots = 2
        return super().step()


def test_fewer_slots_after_memory_ran_out_are_told_of_once() -> None:
    feeder = Feeder(ShrinkingEngine(slots=4), Watchdog(60), Cores(shared=False), die=lambda: None)  # type: ignore[arg-type]
    intake = feeder.intake()
    intake.add(Request(key=i, prompt=f"p{i}", settings=SamplingSettings(), seed=i) for i in range(6))
    with capture_logs() as logs:
        feeder.start()
        results = [result for result in intake.results(patience=5) if result is not None]
    assert len(results) == 6
    told = [{"slots": line["slots"], "before": line["before"]} for line in logs if "slots" in line]
    assert told == [{"slots": 2, "before": 4}]
