"""A hint for a new score request, so that a worker takes it at once.

If Redis is down, the workers' maintenance finds the request in SQL.
"""

from __future__ import annotations

import contextlib

from starlette.background import BackgroundTasks

from contract.errors import QueueUnreachable


def send_hint(background: BackgroundTasks, classifier: str | None, request: int | None) -> None:
    """Sends a message for a score request, after the response has been sent."""
    if classifier is not None and request is not None:
        background.add_task(_send, classifier, request)


def _send(classifier: str, request: int) -> None:
    # Celery is slow to import: only when there is something to send.
    from contract.queue import request_hint, score_queue, top_up

    with contextlib.suppress(QueueUnreachable):
        top_up(score_queue(classifier), [request_hint(request)])
