"""The slot engine: prefill into a free slot, decode all active slots in one forward, refill at once.

A text depends on model, prompt, settings and seed alone. Whose requests they are is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch

from worker.engine.admission import Rejected, Row, admit, described
from worker.engine.gpt2 import GPT2
from worker.engine.kv_cache import KVCache
from worker.engine.sampler import Choice, sample
from worker.engine.scheduler import Scheduler
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.vocabulary import ByteVocabulary

Report = Completion | Fault

PREFILL_TOKENS = 1024
"""Prompt tokens that one step takes in before it decodes, so that no step lasts long."""

PREFILL_FLOOR = 128
"""What a shorter prompt counts for: all weights are read for it, too."""


class SlotEngine:
    """Requests in, completions and faults out. Only one thread may call it."""

    name = "inkmill-slots 1"

    def __init__(self, model: GPT2, vocabulary: ByteVocabulary, slots: int) -> None:
        self.model = model
        self._vocabulary = vocabulary
        self._scheduler = Scheduler(slots)
        self._cache: KVCache | None = None  # made when first needed, and again after a failure
        self._rows: dict[int, Row] = {}  # slot -> what is written there

    @property
    def slots(self) -> int:
        """How many sequences are decoded at once; fewer after memory ran out."""
        return self._scheduler.slots

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

    def add(self, requests: Iterable[Request]) -> None:
        """Put requests at the end of the waiting queue.

        Raises:
            ValueError: a key that is pending already; nothing is added then.
        """
        self._scheduler.add(requests)

    def cancel(self, keys: Iterable[Hashable]) -> None:
        """Forget these requests; nothing will be reported of them. Unknown keys are passed over."""
        for slot in self._scheduler.cancel(keys):
            self._rows.pop(slot, None)

    def step(self) -> list[Report]:
        """One turn: refill free slots, decode one token of every active sequence, report what ended.

        Raises:
            MemoryError, torch.OutOfMemoryError: not even the cache of one slot fits.
            torch.AcceleratorError: the device is lost to this process; no request is charged with that.
        """
        reports: list[Report] = []
        try:
            self._refill(reports)
            self._decode(reports)
        except Exception as error:
            self._recover(error, reports)
        return reports

    def _refill(self, reports: list[Report]) -> None:
        if self._cache is None:
            self._cache = self.model.new_cache(self.slots)
        budget = PREFILL_TOKENS
        while budget > 0 and (admitted := self._scheduler.admit()):
            slot, request = admitted
            try:
                row, choice = self._prefill(slot, request, self._cache)
            except Rejected as error:
                self._fail(slot, request, str(error), reports, certain=True)
            except Exception as error:
                if out_of_memory(error) or device_lost(error):
                    raise
                self._fail(slot, request, described(error), reports)
            else:
                budget -= max(len(row.prompt), PREFILL_FLOOR)
                self._rows[slot] = row
                self._take(slot, choice, reports)

    def _prefill(self, slot: int, request: Request, cache: KVCache) -> tuple[Row, Choice]:
        row = admit(request, self._vocabulary, self.model.vocabulary, self.model.positions)
        logits = self.model.prefill(row.prompt, slot, cache)  # [1, vocabulary]
        (choice,) = sample(logits, [row.state])
        if isinstance(choice, Exception):
            raise choice
        return row, choice

    def _decode(self, reports: list[Report]) -> None:
        if not self._rows or self._cache is None:
            return
        slots, rows = list(self._rows), list(self._rows.values())
        tokens = [row.sequence.tokens[-1] for row in rows]
        positions = [row.state.length - 1 for row in rows]
        logits = self.model.decode(tokens, positions, slots, self._cache)  # [rows, vocabulary]
        for slot, row, choice in zip(slots, rows, sample(logits, [row.state for row in rows]), strict=True):
            if isinstance(choice, Exception):
                self._fail(slot, row.sequence.request, described(choice), reports)
            else:
                self._take(slot, choice, reports)

    def _take(self, slot: int, choice: Choice, reports: list[Report]) -> None:
        """Append a token to its sequence; report the sequence and free its slot where that ends it."""
        row = self._rows[slot]
        entry = row.entry(choice, self._vocabulary)
        if choice.token in self._vocabulary.eos:
            row.sequence.end(choice.token, choice.logprob, entry)
        else:
            row.sequence.append(choice.token, self._vocabulary.piece(choice.token), choice.logprob, entry)
        row.state.append(choice.token)
        if row.sequence.finish_reason is not None:
            reports.append(row.sequence.completion())
            self._release(slot)

    def _fail(self, slot: int, request: Request, reason: str, reports: list[Report], *, certain: bool = False) -> None:
        reports.append(Fault(request.key, reason, certain))
        self._release(slot)

    def _release(self, slot: int) -> None:
        self._rows.pop(slot, None)
        self._scheduler.release(slot)

    def _recover(self, error: Exception, reports: list[Report]) -> None:
        """Drop the cache and restart what was active: in fewer slots, or in halves to find the guilty one."""
        memory, idle = out_of_memory(error), not self.active
        if device_lost(error):
            raise error
        if idle and (not memory or self.slots == 1):
            raise error
        self._rows.clear()
        self._cache = None
        charged = self._scheduler.shrink() if memory else self._scheduler.split()
        if charged is not None:
            reports.append(Fault(charged.key, described(error), certain=False))


def device_lost(error: Exception) -> bool:
    """Whether the device failed in a way that makes everything after it fail too: an illegal access, say."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error).lower()
    said = "out of memory" in message or "can't allocate memory" in message
    return said and isinstance(error, RuntimeError)
