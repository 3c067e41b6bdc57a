"""What is there beside the database that a job may wait for: the local stack and Redis. Knows no SQL."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from contract.settings import Settings, settings
from contract.stack_state import StackState, WantedWorker, read_state

ANSWER_SECONDS = 2.0
"""How long an answer about Redis holds: pages and `watch` ask twice a second."""
REDIS_SECONDS = 1.0
"""How long a Redis that says nothing is waited for: whoever asks what a job waits for shall not wait himself."""
_known: dict[str, tuple[float, str | None]] = {}  # by address: when it was asked, and what was found


class Surroundings:
    """They are looked at once, and only where somebody asks."""

    def __init__(self, where: Settings | None = None) -> None:
        self._where = where or settings()

    @cached_property
    def _stack(self) -> StackState | None:
        """The stack of this home, where it runs and works on this database."""
        state = read_state(self._where.home) if self._where.embedded else None
        mine = state is not None and state.runs and state.address == self._where.sql_address
        return state if mine else None

    @cached_property
    def redis(self) -> str | None:
        """Redis, where it takes no messages, and why; None where it does."""
        if self._where.embedded and self._stack is None:
            return None  # whoever starts a worker here starts it too
        if self._stack is not None and self._stack.redis_down:
            return f"the local Redis, which does not run: {self._stack.redis_down}"
        # Celery takes a while to import: only for a job that waits.
        from contract.queue import make_app, redis_trouble

        url, now = self._where.broker_url, time.monotonic()
        asked, found = _known.get(url, (-ANSWER_SECONDS, None))
        if now - asked >= ANSWER_SECONDS:
            found = redis_trouble(make_app(self._where.model_copy(update={"service_seconds": REDIS_SECONDS})))
            _known[url] = now, found
        return found

    def starts_worker_for(self, job: Any) -> bool:
        """Whether the stack starts a worker for such a job by itself, and starts it again."""
        return self._stack is not None and self._stack.serves(WantedWorker.of(job))
