"""The queue in the focus view: a list of outputs to review, and one output in full."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from contract.policy import LABELS
from contract.review import Filter, StateFilter
from db.jobs.jobs import list_jobs
from db.review.claims import next_output
from db.review.paging import CappedCount
from db.review.progress import known_reasons, review_progress, reviewers
from db.review.queue import QueuePage as Rows
from db.review.queue import count_matching, neighbour, read_page
from review.card import card
from review.context import CurrentPage, Page
from review.queue_view import PARAMETERS, CurrentView, OutputId, QueueView, ShownView
from review.security.form import CurrentForm, whole_number

RAIL_ROWS = 40
NEWEST_JOBS = 200
CHOICES_SECONDS = 5.0

router = APIRouter()


@router.get("/queue", response_model=None)
def queue(page: CurrentPage, view: ShownView) -> Response:
    """The first output of a view that nobody else is reviewing; `after` continues after one."""
    if short := short_address(page, view):
        return short
    rows = _rows(page, view)
    after = page.request.query_params.get("after", "")
    if after:
        chosen = neighbour(page.database, view.filter, whole_number(after, "after"))
    else:
        chosen = next((row.output_id for row in rows.rows if row.claimed_by is None), None)
    return _focus(page, view, rows, chosen)


@router.get("/queue/rail", response_model=None)
def rail(page: CurrentPage, view: CurrentView) -> Response:
    """More of the list, from a `cursor` on."""
    return HTMLResponse(page.fragment("_rail.html", view=view, rows=_rows(page, view), chosen=None))


@router.post("/queue/next", response_model=None)
def next_card(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Claims the output after this one; returns its card, or the one that says there is none."""
    share = page.services.config.audit_share
    chosen = next_output(page.database, page.reviewer, view.filter, after=form.number("after"), audit_share=share)
    markup = done(page, view) if chosen is None else card(page, view, chosen)
    return JSONResponse({"output": chosen, "card": markup})


@router.get("/outputs/{output_id}", response_model=None)
def output(page: CurrentPage, view: ShownView, output_id: OutputId) -> Response:
    """One output, in the view that the address names."""
    return _focus(page, view, _rows(page, view), output_id)


@router.get("/outputs/{output_id}/card", response_model=None)
def output_card(page: CurrentPage, view: CurrentView, output_id: OutputId) -> Response:
    """One output's card, for a page that is already open."""
    return HTMLResponse(card(page, view, output_id))


def short_address(page: Page, view: QueueView) -> Response | None:
    """A redirect to the view's short address, where a form sent empty fields."""
    parameters = page.request.query_params
    if view.problems or all(parameters[name] for name in PARAMETERS if name in parameters):
        return None
    more = {name: value for name, value in parameters.items() if name not in PARAMETERS and value}
    return RedirectResponse(view.address(page.request.url.path, **more), 303)


def filter_choices(page: Page, view: QueueView) -> dict[str, Any]:
    """The options of the filter's fields, cached for a few seconds."""
    database, job = page.database, view.filter.job
    shared = page.services.shared_reads
    jobs = shared.get("jobs to filter by", lambda: list_jobs(database, NEWEST_JOBS), CHOICES_SECONDS)
    return {
        "jobs": [(str(job.id), f"{job.id} · {job.name}") for job in jobs],
        "models": sorted({job.model for job in jobs}),
        "labels": LABELS,
        "reasons": shared.get(("reasons", job), lambda: known_reasons(database, job), CHOICES_SECONDS),
        "reviewers": shared.get("reviewers", lambda: reviewers(database), CHOICES_SECONDS),
        "states": list(StateFilter),
    }


def done(page: Page, view: QueueView) -> Markup:
    """What is shown where a view has nothing, or nothing more."""
    unfound = _matches_anywhere(page, view.filter)
    return page.fragment("_done.html", view=view, unfound=unfound, any_jobs=bool(list_jobs(page.database, 1)))


def _matches_anywhere(page: Page, wanted: Filter) -> CappedCount | None:
    """Of how many outputs a view's words are, where none of the view has them."""
    if not wanted.query or read_page(page.database, wanted, limit=1).rows:
        return None
    return count_matching(page.database, Filter(query=wanted.query, state=StateFilter.ALL))


def _rows(page: Page, view: QueueView) -> Rows:
    cursor = page.request.query_params.get("cursor") or None
    return read_page(page.database, view.filter, cursor=cursor, limit=RAIL_ROWS, reviewer=page.reviewer)


def _focus(page: Page, view: QueueView, rows: Rows, chosen: int | None) -> Response:
    return page.render(
        "queue.html",
        status=400 if view.problems else 200,
        current="queue",
        view=view,
        rows=rows,
        chosen=chosen,
        card=done(page, view) if chosen is None else card(page, view, chosen),
        progress=review_progress(page.database, view.filter, page.reviewer),
        choices=filter_choices(page, view),
    )
