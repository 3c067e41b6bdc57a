"""The workers page: which workers are running, what they serve, when they were last seen."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from db.work.workers import list_workers
from review.context import CurrentPage
from review.live.stream import events

WORKERS_SECONDS = 2.0
SHOWN_GONE = 20

router = APIRouter()


@router.get("/workers", response_model=None)
def workers(page: CurrentPage) -> Response:
    """Every running worker, and the most recent past ones."""
    return page.render("workers.html", current="workers", **_seen(page))


@router.get("/workers/events", response_model=None)
def follow(page: CurrentPage) -> Response:
    """The workers, live."""
    return events(page, lambda: page.fragment("_workers.html", **_seen(page)), seconds=WORKERS_SECONDS)


def _seen(page: CurrentPage) -> dict[str, Any]:
    listed = page.services.shared_reads.get("workers", lambda: list_workers(page.database), WORKERS_SECONDS / 2)
    return {"alive": [w for w in listed if w.alive], "gone": [w for w in listed if not w.alive][:SHOWN_GONE]}
