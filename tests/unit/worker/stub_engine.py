"""An engine without a model: texts are functions of prompt and seed, faults are what the prompt says."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable

from contract.spec import SamplingSettings
from worker.engine.sequence import Completion, Fault, Request


class StubEngine:
    """Finishes `per_step` requests a step. A prompt that says `raise` faults each time, `certain` for good."""

    name = "stub 1"
    pause = 0.0

    def __init__(self, slots: int = 4, per_step: int = 2) -> None:
        self.slots, self._per_step = slots, per_step
        self._waiting: dict[Hashable, Request] = {}
        self.seen: list[str] = []  # prompts in the order in which they finished
        self.most_beside: dict[str, int] = {}  # the most other requests each prompt shared the engine with
        self.gate = threading.Event()
        self.gate.set()
        self.closes_at: int | None = None  # so many finished requests close the gate

    def read(self, prompt: str, settings: SamplingSettings, like: object, alive: object, *, chat: bool) -> None:
        """A stub reads nothing beforehand."""

    def tokens(self, text: str) -> list[int]:
        """A token for each character."""
        return [ord(character) for character in text]

    def add(self, requests: Iterable[Request]) -> None:
        self._waiting |= {request.key: request for request in requests}

    def cancel(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._waiting.pop(key, None)

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def step(self) -> list[Completion | Fault]:
        self.gate.wait(10)
        for request in self._waiting.values():
            others = {other.prompt for other in self._waiting.values()} - {request.prompt}
            self.most_beside[request.prompt] = max(self.most_beside.get(request.prompt, 0), len(others))
        finished = [self._finish(self._waiting.pop(key)) for key in list(self._waiting)[: self._per_step]]
        if self.closes_at is not None and len(self.seen) >= self.closes_at:
            self.gate.clear()
        return finished

    def _finish(self, request: Request) -> Completion | Fault:
        self.seen.append(request.prompt)
        if "raise" in request.prompt or "certain" in request.prompt:
            return Fault(request.key, f"cannot write on {request.prompt!r}", certain="certain" in request.prompt)
        text = f"{request.prompt}/{request.seed}"
        return Completion(request.key, text, "length", 3, 2, -1.0, None)
