"""The slot engine: schedule, forward, sample, finish; a sequence that ends leaves its slot to the next at once.

A text depends on model, prompt, settings and seed alone. Whose requests they are is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

import numpy as np
import torch

from contract.spec import SamplingSettings
from worker.engine.admission import RunningSequence, admit, code_of, describe
from worker.engine.chat import ChatTemplate
from worker.engine.encoded_prompt import Alive, EncodedPrompt, ModelLimits, Rejected, read
from worker.engine.forward import Logits, Rows
from worker.engine.kv_cache import KVCache
from worker.engine.memory_blame import out_of_memory
from worker.engine.sampling.sampler import Choice
from worker.engine.sampling.state import SamplingState
from worker.engine.scheduler import SlotScheduler
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import Vocabulary

Report = Completion | Fault

PREFILL_TOKENS = 256
"""Prompt tokens that one step computes at most, beside the sequences that it decodes: no step lasts long."""

MIN_SHARED_TOKENS = 8
"""A prefix of so many tokens or more that another prompt has too is taken over instead of computed."""


class Model(Protocol):
    """What the engine needs of a model; see worker.engine.cpu.gpt2.GPT2."""

    positions: int
    vocabulary: int

    def new_cache(self, slots: int) -> KVCache: ...

    def forward(self, rows: Rows, cache: KVCache) -> Logits: ...

    def sample(self, logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]: ...


class SlotEngine:
    """Requests in, completions and faults out. Only one thread may call it, but for `read`."""

    name = "inkmill-slots 3"

    def __init__(self, model: Model, vocabulary: Vocabulary, slots: int) -> None:
        self.model = model
        self._vocabulary, self.chat_template = vocabulary, ChatTemplate(vocabulary)
        self._limits = ModelLimits(model.vocabulary, model.positions)
        self._scheduler = SlotScheduler(slots)
        self._cache: KVCache | None = None  # made when first needed, and again after a failure
        self._waits_for_room = False  # the request that is next: until a slot is given up, or the request
        self._running: dict[int, RunningSequence] = {}  # slot -> what is written there, in order of admission

    @property
    def slots(self) -> int:
        """How many sequences are decoded at once; fewer after memory ran out."""
        return self._scheduler.slots

    @property
    def pause(self) -> float:
        """Seconds to wait before the next step, where there was no memory for a single sequence; else 0."""
        return self._scheduler.pause

    @property
    def active(self) -> int:
        return self._scheduler.active

    @property
    def free(self) -> int:
        return self._scheduler.free

    @property
    def pending(self) -> int:
        """Requests that were added and not yet reported or cancelled."""
        return self._scheduler.pending

    def read(
        self,
        prompt: str,
        settings: SamplingSettings,
        earlier: EncodedPrompt | None = None,
        alive: Alive = lambda: None,
        *,
        chat: bool = False,
    ) -> EncodedPrompt:
        """What a prompt's requests may bring along, so that no step has to work it out; see
        worker.engine.encoded_prompt.

        Raises:
            Rejected: this model can never serve them.
        """
        return read(prompt, settings, self._vocabulary, self._limits, earlier, alive, chat=chat)

    def add(self, requests: Iterable[Request]) -> None:
        """Put requests at the end of the waiting queue.

        Raises:
            ValueError: a key that is pending already; nothing is added then.
        """
        self._scheduler.add(requests)

    def cancel(self, keys: Iterable[Hashable]) -> None:
        """Forget these requests; nothing will be reported of them. Unknown keys are passed over."""
        self._waits_for_room = False
        for slot in self._scheduler.cancel(keys):
            self._clear(slot)

    def so_far(self, key: Hashable) -> str:
        """What is written of a request's text, as far as it stands; "" where nothing is yet."""
        written = (running.sequence for running in self._running.values() if running.sequence.request.key == key)
        return next((sequence.so_far() for sequence in written), "")

    def warm(self) -> None:
        """Compute one token that nobody asked for, so that no later step waits for code to be compiled."""
        cache, state = self.model.new_cache(1), SamplingState(SamplingSettings(), 0, [0])
        cache.reserve(0, 1)
        zero = np.zeros(1, np.int64)
        self.model.sample(self.model.forward(Rows(zero, zero, zero, zero), cache), [state])

    def step(self) -> list[Report]:
        """One turn: refill free slots, compute a token of every sequence, report what ended.

        Raises:
            MemoryError, torch.OutOfMemoryError: not even the cache of one slot fits, and did not for long.
            torch.AcceleratorError: the device is lost to this process; no request is charged with that.
        """
        reports: list[Report] = []
        try:
            cache = self._refill(reports)
            rows = self._schedule(cache)
            if rows is not None:
                self._finish(rows, self.model.forward(rows, cache), reports)
                if self._scheduler.grow():
                    self._restart()
        except Exception as error:
            self._recover(error, reports)
        return reports

    def _refill(self, reports: list[Report]) -> KVCache:
        """Give free slots to waiting requests."""
        if self._cache is None:
            self._cache = self.model.new_cache(self.slots)
        while not self._waits_for_room and (admitted := self._scheduler.admit()):
            slot, request = admitted
            try:
                running = admit(request, self._vocabulary, self._limits)
                if not self._cache.set_aside(slot, running.longest):
                    self._scheduler.put_back(slot)
                    self._waits_for_room = True
                    continue
                self._running[slot] = running
            except Rejected as error:
                reports.append(Fault(request.key, str(error), certain=True, code=error.code))
                self._release(slot, finished=False)
            except Exception as error:
                if out_of_memory(error):
                    raise
                self._fail(slot, request.key, error, reports)
        return self._cache

    def _schedule(self, cache: KVCache) -> Rows | None:
        """The next token of every sequence that is being decoded, and prompt tokens up to PREFILL_TOKENS.

        Where a prompt is cut does not matter: a row's bits do not depend on the rows beside it.
        """
        parts: list[tuple[int, int, int]] = []  # slot, first position, end
        budget = PREFILL_TOKENS
        for slot, running in self._running.items():
            count = 1
            if running.computed < running.state.length - 1:
                if not budget or (not running.computed and self._share_prefix(slot, running, cache)):
                    continue
                count = min(running.state.length - running.computed, budget)
                budget -= count
            cache.reserve(slot, running.computed + count)
            parts.append((slot, running.computed, running.computed + count))
        return self._gather(parts) if parts else None

    def _share_prefix(self, slot: int, running: RunningSequence, cache: KVCache) -> bool:
        """Take over what an earlier sequence has computed of the same prefix; True where that is not ready yet."""
        source, length = self._longest_shared_prefix(running)
        if length < MIN_SHARED_TOKENS:
            return False
        if self._running[source].computed < length:
            return True
        cache.share(source, slot, length)
        running.computed = length
        return False

    def _longest_shared_prefix(self, running: RunningSequence) -> tuple[int, int]:
        """The slot of the earlier sequence that shares the longest prefix with this prompt, and how long it is.

        The prompt's last token is always computed: it is what the first new one is sampled from.
        """
        prompt, longest = running.state.context[:-1], (-1, 0)
        for slot, earlier in self._running.items():
            if earlier is running:
                break
            if earlier.prompt[:MIN_SHARED_TOKENS] == running.prompt[:MIN_SHARED_TOKENS]:
                context = earlier.state.context[: len(prompt)]
                differing = np.flatnonzero(context != prompt[: len(context)])
                common = int(differing[0]) if len(differing) else len(context)
                longest = max(longest, (slot, common), key=lambda pair: pair[1])
        return longest

    def _gather(self, parts: list[tuple[int, int, int]]) -> Rows:
        contexts = [self._running[slot].state.context[start:end] for slot, start, end in parts]
        lengths = np.array([end - start for _, start, end in parts])
        ends = np.cumsum(lengths)
        complete = [self._running[slot].state.length == end for slot, _, end in parts]
        return Rows(
            tokens=np.concatenate(contexts).astype(np.int64),
            positions=np.concatenate([np.arange(start, end) for _, start, end in parts]),
            slots=np.repeat([slot for slot, _, _ in parts], lengths),
            wanted=ends[complete] - 1,
        )

    def _finish(self, rows: Rows, logits: Logits, reports: list[Report]) -> None:
        """Note what was computed, and sample a token of every sequence whose last one was."""
        for slot, position in zip(rows.slots.tolist(), rows.positions.tolist(), strict=True):
            self._running[slot].computed = position + 1
        slots = rows.slots[rows.wanted].tolist()
        choices = self.model.sample(logits, [self._running[slot].state for slot in slots]) if slots else []
        for slot, choice in zip(slots, choices, strict=True):
            if isinstance(choice, Exception):
                self._fail(slot, self._running[slot].sequence.request.key, choice, reports)
            else:
                self._append(slot, choice, reports)

    def _append(self, slot: int, choice: Choice, reports: list[Report]) -> None:
        """Append a token to its sequence; report the sequence and free its slot where that ends it."""
        running = self._running[slot]
        entry = running.entry(choice, self._vocabulary)
        if running.is_ended_by(choice.token, self._vocabulary):
            running.sequence.end(choice.token, choice.logprob, entry)
        else:
            running.sequence.append(choice.token, choice.logprob, entry)
        running.state.append(choice.token)
        if running.sequence.finish_reason is not None:
            reports.append(running.sequence.completion())
            self._release(slot, finished=True)

    def _fail(self, slot: int, key: Hashable, error: Exception, reports: list[Report]) -> None:
        reports.append(Fault(key, describe(error), certain=False, code=code_of(error)))
        self._release(slot, finished=False)

    def _release(self, slot: int, *, finished: bool) -> None:
        self._clear(slot)
        self._scheduler.release(slot, finished=finished)

    def _clear(self, slot: int) -> None:
        self._waits_for_room = False
        if self._running.pop(slot, None) is not None and self._cache is not None:
            self._cache.release(slot)

    def _recover(self, error: Exception, reports: list[Report]) -> None:
        """Drop the cache and restart what was active: in fewer slots, or in halves to find the one at fault."""
        memory, idle = out_of_memory(error), not self.active
        if device_lost(error) or (idle and not memory):
            raise error
        if idle and self.slots == 1 and self._scheduler.starved():
            raise error
        self._restart()
        charged = self._scheduler.shrink() if memory else self._scheduler.split()
        if charged is not None:
            reports.append(Fault(charged.key, describe(error), certain=False, code=code_of(error)))

    def _restart(self) -> None:
        """Forget what was computed of active sequences, which the scheduler has put back into a queue."""
        self._running.clear()
        self._cache, self._waits_for_room = None, False


def device_lost(error: Exception) -> bool:
    """Whether the device failed in a way that makes everything after it fail too: an illegal access, say."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)
