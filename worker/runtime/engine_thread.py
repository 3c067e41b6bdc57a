"""The one thread that owns the engine: it takes requests from all task threads and hands each its results."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import structlog

from contract.spec import Messages, SamplingSettings
from worker.engine.encoded_prompt import EncodedPrompt
from worker.engine.memory_blame import out_of_memory
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.stepping import SteppingEngine
from worker.runtime.core_lock import Cores
from worker.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from worker.engine.fallback.one_by_one import FallbackEngine  # loads transformers

log = structlog.get_logger()
Result = Completion | Fault


class Intake:
    """One batch's requests in the engine, and its results as they come."""

    def __init__(self, feeder: Feeder, number: int) -> None:
        self._feeder, self._number = feeder, number
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.open = 0  # requests without a result

    def read(
        self, prompt: str, settings: SamplingSettings, earlier: EncodedPrompt | None, *, chat: bool
    ) -> EncodedPrompt:
        """What the engine makes of a prompt, on the caller's thread, so that no step waits for it.

        Raises:
            Rejected: the model can never serve it.
        """
        return self._feeder.read(f"reading for intake {self._number}", prompt, settings, earlier, chat=chat)

    def prompt_of(self, messages: Messages, model: str) -> str:
        """What the model's chat template makes of messages, on the caller's thread too.

        Raises:
            Rejected: there is none, or it does not take them.
        """
        return self._feeder.prompt_of(f"reading for intake {self._number}", messages, model)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While more requests are on their way, there is no room for another batch."""
        self._feeder.filling.add(self)
        try:
            yield
        finally:
            self._feeder.filling.discard(self)

    def add(self, requests: Iterable[Request]) -> None:
        """Hands requests to the engine. Their keys need to be unique within this intake only."""
        renamed = [replace(request, key=(self._number, request.key)) for request in requests]
        self.open += len(renamed)
        self._feeder.command(lambda: self._feeder.admit(self, renamed))

    @property
    def ready(self) -> bool:
        """Whether a result can be had without waiting."""
        return not self._results.empty()

    def results(self, patience: float) -> Iterator[Result | None]:
        """Results until none is open; None after `patience` seconds without one, so that the caller can look around."""
        while self.open:
            try:
                result = self._results.get(timeout=patience)
            except queue.Empty:
                yield None
                continue
            self.open -= 1
            _, key = cast("tuple[int, Hashable]", result.key)
            yield replace(result, key=key)

    def drop(self, keys: Iterable[Hashable] | None = None) -> None:
        """Takes requests back: those of `keys`, or all. Results that are ready already still come."""
        wanted: set[Hashable] | None = None if keys is None else {(self._number, key) for key in keys}
        dropped = threading.Event()
        self._feeder.command(lambda: self._feeder.drop(self, wanted, dropped))
        dropped.wait(timeout=60)

    def deliver(self, result: Result) -> None:
        self._results.put(result)


class Feeder:
    """Keeps the engine's slots full from every open intake at once."""

    def __init__(
        self,
        engine: SteppingEngine | FallbackEngine,
        watchdog: Watchdog,
        cores: Cores,
        die: Callable[[], object],
    ) -> None:
        """
        Args:
            die: ends the process; called where the engine itself breaks.
        """
        self.engine, self._watchdog, self._cores, self._end_process = engine, watchdog, cores, die
        if not isinstance(engine, SteppingEngine):
            engine.alive = self._alive
        self._commands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._owners: dict[Hashable, Intake] = {}
        self._numbers = itertools.count()
        self.filling: set[Intake] = set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.tokens = 0  # generated since the process started

    def start(self) -> None:
        self._thread.start()

    @property
    def load(self) -> int:
        """Requests that wait or run."""
        return len(self._owners) + self._commands.qsize()

    @property
    def has_room(self) -> bool:
        """Whether what is in hand no longer does more than fill the slots: time to claim one batch more."""
        return not self.filling and self.load <= self.engine.slots

    def read(
        self, name: str, prompt: str, settings: SamplingSettings, earlier: EncodedPrompt | None, *, chat: bool
    ) -> EncodedPrompt:
        """Under watch from text to text: one that hangs the tokenizer hangs this process for good."""
        with self._watchdog.step(name):
            return self.engine.read(prompt, settings, earlier, alive=lambda: self._watchdog.touch(name), chat=chat)

    def prompt_of(self, name: str, messages: Messages, model: str) -> str:
        """Under watch: a template is code."""
        with self._watchdog.step(name):
            return self.engine.chat_template.prompt_of(messages, model)

    def intake(self) -> Intake:
        return Intake(self, next(self._numbers))

    def command(self, function: Callable[[], object]) -> None:
        """Runs a function on the engine's thread, between two steps."""
        self._commands.put(function)

    def admit(self, intake: Intake, requests: list[Request]) -> None:
        self._owners.update(dict.fromkeys((request.key for request in requests), intake))
        self.engine.add(requests)

    def drop(self, intake: Intake, keys: set[Hashable] | None, dropped: threading.Event) -> None:
        cancelled = [key for key, owner in self._owners.items() if owner is intake and (keys is None or key in keys)]
        self.engine.cancel(cancelled)
        for key in cancelled:
            del self._owners[key]
        intake.open -= len(cancelled)
        dropped.set()

    def _run(self) -> None:
        try:
            while True:
                self._run_commands(wait=not self.engine.pending)
                if self.engine.pending:
                    self._step()
        except BaseException:
            log.critical("the engine failed; ending this process", exc_info=True)
            self._end_process()

    def _run_commands(self, *, wait: bool) -> None:
        if wait:
            self._commands.get()()
        while not self._commands.empty():
            self._commands.get()()

    def _alive(self) -> None:
        """In the middle of a long step: a whole text, for engines that have no shorter one."""
        self._watchdog.touch("engine")  # before as well: the scorer's turn may be long, and is not the engine's
        self._cores.give_way()
        self._watchdog.touch("engine")

    def _step(self) -> None:
        slots = self.engine.slots
        with self._cores.held(), self._watchdog.step("engine"):
            results = self._engine_step()
        if self.engine.slots != slots:
            log.warning("memory ran out; continuing with other slots", slots=self.engine.slots, before=slots)
        for result in results:
            if isinstance(result, Completion):
                self.tokens += result.tokens
            owner = self._owners.pop(result.key, None)
            if owner is not None:
                owner.deliver(result)
        if self.engine.pause:
            self._wait_for_memory(self.engine.pause)

    def _engine_step(self) -> Sequence[Result]:
        try:
            return self.engine.step()
        except Exception as error:
            if not out_of_memory(error):
                raise
            return []  # not even an empty slot fits: no request's fault either, and the engine is as it was

    def _wait_for_memory(self, seconds: float) -> None:
        """Runs commands meanwhile; it is no step, so that leases are kept and the watchdog sees nothing."""
        log.warning("no memory for a single text; waiting for it", seconds=seconds)
        end = time.monotonic() + seconds
        while self.engine.pending and (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._commands.get(timeout=left)()
