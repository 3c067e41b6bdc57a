"""What a job may wait for besides the database: the local stack and Redis. Knows no SQL."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from contract.settings import Settings, settings
from contract.waiting.stack_state import StackState, WantedWorker, read_state

ANSWER_SECONDS = 2.0
"""How long an answer about Redis is used again: pages and `watch` ask twice a second."""
REDIS_SECONDS = 1.0
"""How long to wait for a silent Redis: whoever asks what a job waits for should not wait as well."""
_answers: dict[str, tuple[float, str | None]] = {}  # by address: when it was asked, and what was wrong


class Surroundings:
    """They are looked at once, and only if somebody asks."""

    def __init__(self, config: Settings | None = None) -> None:
        self._settings = config or settings()

    @cached_property
    def _stack(self) -> StackState | None:
        """The stack of this home, where it runs and works on this database."""
        state = read_state(self._settings.home) if self._settings.embedded else None
        mine = state is not None and state.runs and state.address == self._settings.sql_address
        return state if mine else None

    @cached_property
    def redis(self) -> str | None:
        """Redis and why it accepts no messages; None if it does."""
        if self._settings.embedded and self._stack is None:
            return None  # whoever starts a worker here starts it too
        if self._stack is not None and self._stack.redis_down:
            return f"the local Redis, which does not run: {self._stack.redis_down}"
        # Celery takes a while to import: only for a job that waits.
        from contract.queue import make_app, redis_trouble

        url, now = self._settings.broker_url, time.monotonic()
        asked_at, trouble = _answers.get(url, (-ANSWER_SECONDS, None))
        if now - asked_at >= ANSWER_SECONDS:
            trouble = redis_trouble(make_app(self._settings.model_copy(update={"service_seconds": REDIS_SECONDS})))
            _answers[url] = now, trouble
        return trouble

    def starts_worker_for(self, job: Any) -> bool:
        """Whether the stack starts a worker for such a job by itself, and starts it again."""
        return self._stack is not None and self._stack.serves(WantedWorker.for_job(job))

    def starts_worker_for_tuning(self, device: str) -> bool:
        """Whether the stack has a worker that trains on such a device, or starts one by itself."""
        return self._stack is not None and self._stack.trains(device)
