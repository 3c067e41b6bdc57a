"""Celery's consumer, with three changes: it notices within seconds, not half a minute, that Redis is back; it accepts
nothing from Redis but hints; and a lost connection leaves nothing behind.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from contract.waiting.redis_refusals import describe_refusal
from worker.supervise.message_filter import filtered

RECONNECT_SECONDS = 3
REPEAT_SECONDS = 600.0
LOGGER = "celery.worker.consumer.consumer"


class RepeatFilter(logging.Filter):
    """Logs the same trouble with Redis once, with what to do, and not every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._last, self._logged_at = "", 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        values = record.args if isinstance(record.args, tuple) else ()
        error = next((value for value in values if isinstance(value, BaseException)), None)
        if error is None:
            return True
        message = describe_refusal(error)
        if message == self._last and time.monotonic() - self._logged_at < REPEAT_SECONDS:
            return False
        self._last, self._logged_at = message, time.monotonic()
        record.msg, record.args = "Redis %s; trying again every few seconds", (message,)
        return True


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Tries to reconnect to a lost broker every few seconds, for ever."""

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        if self.hub is not None:
            self.hub.on_tick.clear()  # or what an earlier connection left there would stay for ever
        return self.ensure_connected(filtered(self.app.connection_for_read(heartbeat=heartbeat)))

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=1, interval_step=1, interval_max=RECONNECT_SECONDS
        )
        return super().ensure_connected(conn)
