"""Celery's consumer, with one change: a Redis that comes back is noticed within seconds, not within half a minute."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

LOOK_SECONDS = 3


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Looks for a lost broker every few seconds, for ever."""

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=1, interval_step=1, interval_max=LOOK_SECONDS
        )
        return super().ensure_connected(conn)
