"""Celery's consumer, with three changes: a Redis that comes back is noticed within seconds, not within half a minute;
of what lies in Redis only hints get through; and a connection that was lost leaves nothing behind.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from worker.broker import wary

LOOK_SECONDS = 3


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
