"""Review progress: mine, everyone's, and what is left."""

from __future__ import annotations

from functools import partial

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from common.times import duration
from db.review.progress import ReviewProgress, review_progress
from review.context import CurrentPage
from review.live.stream import events
from review.queue_view import CurrentView, ShownView
from review.show import formatting

PROGRESS_SECONDS = 2.0

router = APIRouter()


@router.get("/progress", response_model=None)
def show(page: CurrentPage, view: ShownView) -> Response:
    """The progress page."""
    now = review_progress(page.database, view.filter, page.reviewer)
    return page.render("progress.html", status=400 if view.problems else 200, current="progress", progress=now,
                       view=view)  # fmt: skip


@router.get("/progress/events", response_model=None)
def follow(page: CurrentPage, view: CurrentView) -> Response:
    """The figures, live."""

    def look() -> str:
        read = partial(review_progress, page.database, view.filter, page.reviewer)
        topic = ("progress", view.filter, page.reviewer)
        return orjson.dumps(figures(page.services.shared_reads.get(topic, read, PROGRESS_SECONDS / 2))).decode()

    return events(page, look, seconds=PROGRESS_SECONDS, event="progress")


def figures(now: ReviewProgress) -> dict[str, str]:
    """Each figure as text, by the name a page knows it by."""
    return {
        "mine": formatting.number(now.mine),
        "everyone": formatting.number(now.everyone),
        "mine_today": formatting.number(now.mine_today),
        "everyone_today": formatting.number(now.everyone_today),
        "left": str(now.left),
        "whose_short": "you" if now.median_is_mine else "all",
        "whose": formatting.whose(now.median_is_mine),
        "median": duration(now.median_seconds),
        "time_left": formatting.at_least(now.seconds_left, now.left.capped),
    }
