"""The engine for models that have no slots and take texts beside each other: a group starts together, a token of every
text a step, and the next one starts when the last of its texts has ended.

Nobody takes over the row of a text that ended: its own would then be computed in shapes that depend on others.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from contract.spec import IN_GROUPS
from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.encoded_prompt import ModelLimits, Rejected
from worker.engine.fallback.group import ROWS, Group, PaddedModel, Shape
from worker.engine.forward import Logits
from worker.engine.sampling.sampler import sample, warm_sampling
from worker.engine.sequence import Request
from worker.engine.stepping import Report, SteppingEngine
from worker.engine.tokenizer import Vocabulary


class GroupEngine(SteppingEngine):
    """See SteppingEngine; a slot is a row of the group."""

    name = IN_GROUPS

    def __init__(self, model: PaddedModel, vocabulary: Vocabulary) -> None:
        ensure_compiled("fp32")  # of which it needs sampling
        super().__init__(vocabulary, ModelLimits(model.vocabulary, model.positions), ROWS)
        self.model = model
        self._group: Group | None = None

    def add(self, requests: Iterable[Request]) -> None:
        """As any engine's. How long a prompt is decides whom it may stand beside, so all are read now."""
        super().add([self._with_prompt_read(request) for request in requests])

    def warm(self) -> None:
        """As the slot engine's."""
        warm_sampling()

    def _with_prompt_read(self, request: Request) -> Request:
        with suppress(Rejected):  # which it is charged with when its turn comes
            encoded = request.encoded or self.read(request.prompt, request.settings, chat=request.chat)
            return replace(request, encoded=encoded)
        return request

    def _advance(self, reports: list[Report]) -> bool:
        if not self._running:
            self._begin(reports)
        if not self._running or self._group is None:
            return False
        newest = {slot: int(running.state.context[-1]) for slot, running in self._running.items()}
        logits = self._group.forward(newest)
        if logits is not None:
            self._sample(logits, reports)
        return True

    def _sample(self, logits: torch.Tensor, reports: list[Report]) -> None:
        slots = list(self._running)
        rows = Logits(logits[slots], np.zeros(len(slots), np.float32))
        self._take(slots, sample(rows, [self._running[slot].state for slot in slots]), reports)

    def _begin(self, reports: list[Report]) -> None:
        """A new group: the request that is next, and those of its shape."""
        self._group = None
        while admitted := self._scheduler.admit(self._fits):
            running = self._admit(*admitted, reports)
            if running is not None:
                self._running[admitted[0]] = running
        if shape := self._shape:
            self._group = Group(self.model, shape, {slot: one.prompt for slot, one in self._running.items()})

    def _fits(self, request: Request) -> bool:
        """Whether a request may stand beside those that were admitted already."""
        shape, encoded = self._shape, request.encoded
        if shape is None or encoded is None:  # one that could not be read is refused when it is admitted
            return shape is None
        return len(self._running) < shape.rows and shape == self.model.shape(
            len(encoded.tokens), encoded.settings.max_new_tokens
        )

    @property
    def _shape(self) -> Shape | None:
        """That of the texts that are written."""
        for running in self._running.values():
            return self.model.shape(len(running.prompt), running.sequence.request.settings.max_new_tokens)
        return None

    def _clear(self, slot: int) -> None:
        super()._clear(slot)
        if not self._running:
            self._group = None  # its keys and values take memory

    def _restart(self) -> None:
        super()._restart()
        self._group = None
