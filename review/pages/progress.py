"""Reviewing as it goes: mine, everyone's, and what is left."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from common.times import duration
from db.review.progress import ReviewProgress, review_progress
from review.context import CurrentPage
from review.live.stream import events
from review.queue_view import CurrentView
from review.show import formatting

PROGRESS_SECONDS = 2.0

router = APIRouter()


@router.get("/progress", response_model=None)
def show(page: CurrentPage, view: CurrentView) -> Response:
    """The page of progress."""
    now = review_progress(page.database, view.filter, page.reviewer)
    return page.render("progress.html", current="progress", progress=now, view=view)


@router.get("/progress/events", response_model=None)
def follow(page: CurrentPage, view: CurrentView) -> Response:
    """The figures, live."""
    return events(
        page,
        lambda: orjson.dumps(figures(review_progress(page.database, view.filter, page.reviewer))).decode(),
        seconds=PROGRESS_SECONDS,
        event="progress",
    )


def figures(now: ReviewProgress) -> dict[str, str]:
    """Each figure as text, by the name a page knows it by."""
    return {
        "mine": formatting.number(now.mine),
        "everyone": formatting.number(now.everyone),
        "mine_today": formatting.number(now.mine_today),
        "everyone_today": formatting.number(now.everyone_today),
        "left": str(now.left),
        "median": duration(now.median_seconds),
        "time_left": formatting.at_least(now.seconds_left, now.left.capped),
    }
