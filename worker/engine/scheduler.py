"""Who gets a slot next, and who runs apart after a failure. Deques and integers.

Torch, tokens and logits are not known here, so that every decision can be tested without a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable

from worker.engine.memory_blame import Shortage
from worker.engine.sequence import Request

QUIET_STEPS = 500
"""So many steps after memory ran out, twice the slots are tried; where it then soon runs out again, twice as many."""


class SlotScheduler:
    """The waiting queue, the slots, and the quarantine.

    After an exception in a step that several sequences shared, they restart in halves (`split`). A half runs
    with nobody else, and is halved again if it fails, until the one that fails alone is found.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, not {slots}")
        self.slots = slots
        self._max_slots = slots
        self._quiet_steps, self._patience = 0, QUIET_STEPS
        self._waiting: deque[Request] = deque()
        self._groups: deque[deque[Request]] = deque()  # quarantined; the first one is on trial
        self._active: dict[int, Request] = {}  # slot -> its request, in order of admission
        self._shortage = Shortage()

    @property
    def pause(self) -> float:
        """Seconds to wait before the next step, where memory was too short for the only slot; else 0."""
        return self._shortage.pause

    @property
    def active(self) -> int:
        return len(self._active)

    @property
    def free(self) -> int:
        return self.slots - len(self._active)

    @property
    def pending(self) -> int:
        return len(self._waiting) + len(self._active) + sum(map(len, self._groups))

    def add(self, requests: Iterable[Request]) -> None:
        """Append to the waiting queue.

        Raises:
            ValueError: a key that the scheduler already holds; nothing is added then.
        """
        held = set(self._keys())
        added = []
        for request in requests:
            if request.key in held:
                raise ValueError(f"the engine already holds a request with the key {request.key!r}")
            held.add(request.key)
            added.append(request)
        self._waiting.extend(added)

    def cancel(self, keys: Iterable[Hashable]) -> list[int]:
        """Forget these requests, wherever they are; unknown keys are passed over. Returns the slots freed."""
        cancelled = set(keys)
        for key in cancelled:
            self._shortage.forget(key)
        for queue in (self._waiting, *self._groups):
            kept = [request for request in queue if request.key not in cancelled]
            queue.clear()
            queue.extend(kept)
        freed = [slot for slot, request in self._active.items() if request.key in cancelled]
        for slot in freed:
            del self._active[slot]
        return freed

    def admit(self, fits: Callable[[Request], bool] = lambda _: True) -> tuple[int, Request] | None:
        """Give the lowest free slot to the next request that fits; None where there is no slot or no such request."""
        queue = self._queue()
        place = next((place for place, request in enumerate(queue) if fits(request)), None)
        if place is None or self.free < 1:
            return None
        slot = next(slot for slot in range(self.slots) if slot not in self._active)
        self._active[slot] = queue[place]
        del queue[place]
        return slot, self._active[slot]

    def put_back(self, slot: int) -> None:
        """Let the request that was just admitted wait again, first in line."""
        self._queue().appendleft(self._active.pop(slot))

    def release(self, slot: int, *, finished: bool = True) -> None:
        """Free the slot of a sequence that ended: was finished, or failed."""
        key = self._active.pop(slot).key
        if finished:
            self._shortage.finished(key)
        else:
            self._shortage.forget(key)

    def split(self) -> Request | None:
        """Answer an exception in a shared step: every active sequence loses its slot.

        Returns:
            The request to charge where it was alone; otherwise None, and the halves are in quarantine.
        """
        suspects = list(self._active.values())
        self._active.clear()
        if len(suspects) == 1:
            return suspects[0]
        middle = len(suspects) // 2
        self._groups.extendleft(deque(half) for half in (suspects[middle:], suspects[:middle]) if half)
        return None

    def shrink(self) -> Request | None:
        """Answer running out of memory: half the slots; every active sequence waits again, first in line.

        Returns:
            The request to charge, with all slots back: the one in the only slot, after enough tries (see Shortage);
            otherwise None.
        """
        if self.slots == 1 and self._active:
            return self._judge_alone()
        if self._quiet_steps >= self._patience:
            self._patience = QUIET_STEPS
        elif self._quiet_steps:  # at no step at all, one lack of memory takes several halvings
            self._patience *= 2
        self._resize(max(1, self.slots // 2))
        return None

    def starved(self) -> bool:
        """Answer a single slot that does not fit, with nobody in it; whether it was tried often enough."""
        return self._shortage.starved()

    def _judge_alone(self) -> Request | None:
        (request,) = self._active.values()
        self._active.clear()
        if self._shortage.charges(request.key):
            self.slots = self._max_slots
            return request
        self._waiting.insert(self._shortage.place(self._waiting), request)
        return None

    def grow(self) -> bool:
        """Note a step that went well; twice the slots after enough of them, where some were given up.

        Returns:
            Whether there are more slots now: then every active sequence waits again, first in line.
        """
        self._shortage.relieved()
        self._quiet_steps += 1
        searching = self._groups or self._shortage.undecided
        if self.slots == self._max_slots or self._quiet_steps < self._patience or searching:
            return False
        self._resize(min(self._max_slots, 2 * self.slots))
        return True

    def _resize(self, slots: int) -> None:
        self.slots, self._quiet_steps = slots, 0
        self._queue().extendleft(reversed(self._active.values()))
        self._active.clear()

    def _queue(self) -> deque[Request]:
        """Whom slots go to now: the group on trial, or where none is, the waiting queue."""
        while self._groups and not self._groups[0] and not self._active:
            self._groups.popleft()
        return self._groups[0] if self._groups else self._waiting

    def _keys(self) -> Iterable[Hashable]:
        for queue in (self._waiting, self._active.values(), *self._groups):
            yield from (request.key for request in queue)
