"""What engines have in common that write a token of every text they hold in each step: who is in which slot, what a
sampled token does to its text, and who is charged when a step fails.

How the logits come about is left to each engine.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import torch

from contract.spec import SamplingSettings
from worker.engine.admission import RunningSequence, admit, code_of, describe
from worker.engine.chat import ChatTemplate
from worker.engine.encoded_prompt import Alive, EncodedPrompt, ModelLimits, Rejected, read
from worker.engine.memory_blame import out_of_memory
from worker.engine.sampling.sampler import Choice
from worker.engine.scheduler import SlotScheduler
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import Vocabulary

Report = Completion | Fault


class SteppingEngine:
    """Requests in, completions and faults out. Only one thread may call it, but for `read`."""

    name: str

    def __init__(self, vocabulary: Vocabulary, limits: ModelLimits, slots: int) -> None:
        self._vocabulary, self.chat_template = vocabulary, ChatTemplate(vocabulary)
        self._limits = limits
        self._scheduler = SlotScheduler(slots)
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

    def tokens(self, text: str) -> list[int]:
        """A text's own tokens, none of them put before it; see Vocabulary.tokens."""
        return self._vocabulary.tokens(text)

    def add(self, requests: Iterable[Request]) -> None:
        """Put requests at the end of the waiting queue.

        Raises:
            ValueError: a key that is pending already; nothing is added then.
        """
        self._scheduler.add(requests)

    def cancel(self, keys: Iterable[Hashable]) -> None:
        """Forget these requests; nothing will be reported of them. Unknown keys are passed over."""
        for slot in self._scheduler.cancel(keys):
            self._clear(slot)

    def so_far(self, key: Hashable) -> str:
        """What is written of a request's text, as far as it stands; "" where nothing is yet."""
        written = (running.sequence for running in self._running.values() if running.sequence.request.key == key)
        return next((sequence.so_far() for sequence in written), "")

    def step(self) -> list[Report]:
        """One turn: refill free slots, compute a token of every sequence, report what ended.

        Raises:
            MemoryError, torch.OutOfMemoryError: not even the cache of one slot fits, and did not for long.
            torch.AcceleratorError: the device is lost to this process; no request is charged with that.
        """
        reports: list[Report] = []
        try:
            if self._advance(reports) and self._scheduler.grow():
                self._restart()
        except Exception as error:
            self._recover(error, reports)
        return reports

    def _advance(self, reports: list[Report]) -> bool:
        """What a step does where nothing fails. Returns whether anything was computed."""
        raise NotImplementedError

    def _admit(self, slot: int, request: Request, reports: list[Report]) -> RunningSequence | None:
        """Begin a request's text in the slot that the scheduler gave it; None where that cannot be."""
        try:
            return admit(request, self._vocabulary, self._limits)
        except Rejected as error:
            reports.append(Fault(request.key, str(error), certain=True, code=error.code))
            self._release(slot, finished=False)
        except Exception as error:
            if out_of_memory(error):
                raise
            self._fail(slot, request.key, error, reports)
        return None

    def _take(self, slots: Sequence[int], choices: Sequence[Choice | Exception], reports: list[Report]) -> None:
        """What was sampled for the sequences in these slots."""
        for slot, choice in zip(slots, choices, strict=True):
            if isinstance(choice, Exception):
                self._fail(slot, self._running[slot].sequence.request.key, choice, reports)
            else:
                self._append(slot, choice, reports)

    def _append(self, slot: int, choice: Choice, reports: list[Report]) -> None:
        """Append a token to its sequence; report the sequence and free its slot where that ends it."""
        running = self._running[slot]
        running.append(choice, self._vocabulary)
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
        self._running.pop(slot, None)

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


def device_lost(error: Exception) -> bool:
    """Whether the device failed in a way that makes everything after it fail too: an illegal access, say."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)
