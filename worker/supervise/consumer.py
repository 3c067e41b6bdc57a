"""Celery's consumer, with three changes: a Redis that comes back is noticed within seconds, not within half a minute;
of what lies in Redis only hints get through; and a connection that was lost leaves nothing behind.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from contract.redis_refusals import describe_refusal
from worker.supervise.message_filter import wary

LOOK_SECONDS = 3
QUIET_SECONDS = 600.0
LOGGER = "celery.worker.consumer.consumer"


class SaidOnce(logging.Filter):
    """Of the same trouble with Redis there is one line, with what to do, and not one every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said, self._said_at = "", 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        values = record.args if isinstance(record.args, tuple) else ()
        error = next((value for value in values if isinstance(value, BaseException)), None)
        if error is None:
            return True
        said = describe_refusal(error)
        if said == self._said and time.monotonic() - self._said_at < QUIET_SECONDS:
            return False
        self._said, self._said_at = said, time.monotonic()
        record.msg, record.args = "Redis %s; looking for it every few seconds", (said,)
        return True


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Looks for a lost broker every few seconds, for ever."""

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        if self.hub is not None:
            self.hub.on_tick.clear()  # what a connection before this one left there would stay for ever
        return self.ensure_connected(wary(self.app.connection_for_read(heartbeat=heartbeat)))

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=1, interval_step=1, interval_max=LOOK_SECONDS
        )
        return super().ensure_connected(conn)
