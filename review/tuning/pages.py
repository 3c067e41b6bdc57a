"""The pages that follow tunings: the list, and one live."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from contract.errors import UsageError
from db.tuning.tunings import cancel_tuning, find_tuning, list_tunings, retry_tuning
from review.context import CurrentPage, Page
from review.live.stream import events
from review.security.form import CurrentForm
from review.tuning.overview import brief_overview, tuning_overview

SHOWN = 50
TUNING_SECONDS, LIST_SECONDS = 2.0, 2.0

router = APIRouter()

Number = Annotated[int, Path(ge=1, le=2**62)]
Before = Annotated[int | None, Query(ge=1, le=2**62)]


@router.get("/tunings", response_model=None)
def tunings(page: CurrentPage, before: Before = None) -> Response:
    """The newest tunings, or those before one."""
    return page.render("tunings.html", current="tunings", before=before, **_listed(page, before))


@router.get("/tunings/events", response_model=None)
def follow_tunings(page: CurrentPage, before: Before = None) -> Response:
    """The list, live."""

    def look() -> str:
        read = partial(_listed, page, before)
        listed = page.services.shared_reads.get(("tunings", before), read, LIST_SECONDS / 2)
        return page.fragment("_tunings.html", before=before, **listed)

    return events(page, look, seconds=LIST_SECONDS)


def _listed(page: Page, before: int | None) -> dict[str, Any]:
    listed = [brief_overview(page.database, tuning) for tuning in list_tunings(page.database, SHOWN + 1, before=before)]
    return {"tunings": listed[:SHOWN], "more": len(listed) > SHOWN}


@router.get("/tunings/{number}", response_model=None)
def tuning(page: CurrentPage, number: Number) -> Response:
    """One tuning: its figures, curves, samples and notes."""
    return page.render("tuning.html", current="tunings", overview=tuning_overview(page.database, number))


@router.get("/tunings/{number}/events", response_model=None)
def follow_tuning(page: CurrentPage, number: Number) -> Response:
    """One tuning, live."""
    find_tuning(page.database, number)

    def look() -> str:
        read = partial(tuning_overview, page.database, number)
        overview = page.services.shared_reads.get(("tuning", number), read, TUNING_SECONDS / 2)
        return page.fragment("_tuning.html", overview=overview)

    return events(page, look, seconds=TUNING_SECONDS)


@router.post("/tunings/{number}/cancel", response_model=None)
def cancel(page: CurrentPage, number: Number, form: CurrentForm) -> Response:
    """Ends a tuning with a checkpoint."""
    return _steered(page, number, lambda: cancel_tuning(page.database, number), "is cancelled; its checkpoints stay.")


@router.post("/tunings/{number}/retry", response_model=None)
def retry(page: CurrentPage, number: Number, form: CurrentForm) -> Response:
    """Queues a tuning again."""
    # No message is sent: the workers' maintenance finds it in SQL within seconds.
    return _steered(page, number, lambda: retry_tuning(page.database, number), "is queued again.")


def _steered(page: Page, number: int, steer: Any, words: str) -> Response:
    find_tuning(page.database, number)
    back = f"/tunings/{number}"
    try:
        steer()
    except UsageError as error:  # it went on while the page showed the button
        return page.back(back, f"{error}".capitalize() + ".", notice_kind="warning")
    return page.back(back, f"Tuning t{number} {words}")
