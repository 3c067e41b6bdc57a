"""The slot engine: schedule, forward, sample, finish; a sequence that ends leaves its slot to the next at once.

A text depends on model, prompt, settings and seed alone. Whose requests they are is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

import numpy as np

from contract.spec import SamplingSettings
from worker.engine.admission import RunningSequence
from worker.engine.encoded_prompt import ModelLimits
from worker.engine.forward import Logits, Rows
from worker.engine.kv_cache import KVCache
from worker.engine.sampling.sampler import Choice
from worker.engine.sampling.state import SamplingState
from worker.engine.stepping import Report, SteppingEngine
from worker.engine.tokenizer import Vocabulary

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


class SlotEngine(SteppingEngine):
    """See SteppingEngine. Only one thread may call it, but for `read`."""

    name = "inkmill-slots 4"

    def __init__(self, model: Model, vocabulary: Vocabulary, slots: int) -> None:
        super().__init__(vocabulary, ModelLimits(model.vocabulary, model.positions), slots)
        self.model = model
        self._cache: KVCache | None = None  # made when first needed, and again after a failure
        self._waits_for_room = False  # the request that is next: until a slot is given up, or the request

    def cancel(self, keys: Iterable[Hashable]) -> None:
        """As any engine's."""
        self._waits_for_room = False
        super().cancel(keys)

    def warm(self) -> None:
        """Compute one token that nobody asked for, so that no later step waits for code to be compiled."""
        cache, state = self.model.new_cache(1), SamplingState(SamplingSettings(), 0, [0])
        cache.reserve(0, 1)
        zero = np.zeros(1, np.int64)
        self.model.sample(self.model.forward(Rows(zero, zero, zero, zero), cache), [state])

    def _advance(self, reports: list[Report]) -> bool:
        cache = self._refill(reports)
        rows = self._schedule(cache)
        if rows is not None:
            self._finish(rows, self.model.forward(rows, cache), reports)
        return rows is not None

    def _refill(self, reports: list[Report]) -> KVCache:
        """Give free slots to waiting requests."""
        if self._cache is None:
            self._cache = self.model.new_cache(self.slots)
        while not self._waits_for_room and (admitted := self._scheduler.admit()):
            slot, request = admitted
            running = self._admit(slot, request, reports)
            if running is None:
                continue
            if self._cache.set_aside(slot, running.longest):
                self._running[slot] = running
            else:
                self._scheduler.put_back(slot)
                self._waits_for_room = True
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
        self._take(slots, choices, reports)

    def _clear(self, slot: int) -> None:
        self._waits_for_room = False
        if self._running.pop(slot, None) is not None and self._cache is not None:
            self._cache.release(slot)

    def _restart(self) -> None:
        super()._restart()
        self._cache, self._waits_for_room = None, False
