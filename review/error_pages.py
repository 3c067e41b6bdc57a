"""Error pages: what went wrong, that nothing was lost, what to do."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Scope

from contract.errors import ClaimedByOther, DatabaseUnreachable, InkmillError, NotFound, Stale, UsageError
from review.context import Page
from review.security.form import MOST_FIELDS
from review.security.guard import HEADERS
from review.security.hosts import host_of
from review.show import formatting

SHOWN_CHARACTERS = 200
log = logging.getLogger("inkmill.review")

REFUSALS = {
    "unknown host": ("Unknown host name", "Open the address that ‘inkmill web’ printed."),
    "another site": ("Request from another site", "Nothing was changed. Go back to the page and do it there."),
    "forged": ("This page was out of date", "Nothing was changed. Reload the page and try again."),
    "unreachable": ("The database does not answer", "Nothing was lost. Try again in a moment."),
    "too long": ("Too long", "Nothing was changed. A text may have at most 200,000 characters."),
    "too many": ("Too many fields", f"Nothing was changed. A form may have at most {MOST_FIELDS:,} fields."),
    "too slow": ("Request timed out", "Nothing was changed. Try again; the connection may be slow."),
    "cut off": ("Request cut off", "Nothing was changed. Try again."),
}


def register(app: FastAPI) -> None:
    """Registers the error pages with an application."""
    app.add_exception_handler(InkmillError, _inkmill_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _not_found)
    app.add_exception_handler(Exception, _unexpected)


def refusal(scope: Scope, status: int, reason: str) -> ASGIApp:
    """The guard's response to a request it refuses."""
    page = Page(Request(scope))
    if reason == "sign in":
        return _sign_in(page)
    title, advice = REFUSALS[reason]
    return answer(page, status, reason, title, advice + _about_a_proxy(page.request.headers, reason))


def _about_a_proxy(headers: Headers, reason: str) -> str:
    """What a proxy in front of the page has to pass on, where one may be why a request was refused."""
    host, origin = headers.get("host", "")[:SHOWN_CHARACTERS], headers.get("origin", "")[:SHOWN_CHARACTERS]
    if reason == "unknown host":
        return f" It was asked for as ‘{host}’: if that name is right, start ‘inkmill web --host-name {_name(host)}’."
    if reason != "another site" or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return ""
    return (
        f" The browser was at ‘{origin}’, but the request came here for ‘{host}’: a proxy between them has to pass on"
        " the headers Host and Origin as the browser sent them (nginx: proxy_set_header Host $http_host; Apache:"
        f" ProxyPreserveHost On), and ‘inkmill web’ needs --host-name {_name(origin.partition('://')[2])}, with TLS"
        " also --behind-tls. X-Forwarded-Host and its like are not read."
    )


def _name(host: str) -> str:
    return host_of(f"//{host}") or "NAME"


def answer(page: Page, status: int, kind: str, title: str, advice: str, **more: Any) -> Response:
    """An error as a page, or as JSON for the page's own script."""
    if page.wants_json:
        return JSONResponse({"error": kind, "title": title, "message": advice, **more}, status)
    return page.render("error.html", status=status, title=title, advice=advice, code=status)


def _sign_in(page: Page) -> Response:
    if page.wants_json:
        return JSONResponse({"error": "sign in", "title": "You are signed out", "message": "Sign in again."}, 401)
    # A Strict cookie is not sent when a link on another site leads here; our own reload sends it.
    reload = page.request.headers.get("sec-fetch-site") == "cross-site"
    by_address = page.services.config.access.by_address
    return page.render("sign_in.html", status=401, token="", by_address=by_address, invalid=False, reload=reload)


async def _inkmill_error(request: Request, error: Exception) -> Response:
    page = Page(request)
    match error:
        case Stale():
            return answer(page, 409, "stale", "Someone else decided first", _stale(error), by=error.by,
                          state=error.state, version=error.version)  # fmt: skip
        case ClaimedByOther():
            return answer(page, 409, "claimed", f"{error.by} is reviewing this output", str(error), by=error.by)
        case NotFound():
            return answer(page, 404, "not found", "Not found", str(error))
        case UsageError():
            return answer(page, 400, "invalid", "Invalid request", str(error))
        case DatabaseUnreachable():
            log.error("%s", error)
            return answer(page, 503, "unreachable", *REFUSALS["unreachable"])
    log.error("%s", error)
    return answer(page, 500, "failed", "Request failed", str(error))


def _stale(error: Stale) -> str:
    if not error.by:
        return str(error)
    when = formatting.ago(error.at)
    return f"{error.by} set it to {error.state} {when}. Your decision was not stored: review it again."


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return await _not_found(request, error)
    return answer(Page(request), status, "invalid", "Invalid request", "Go back to the queue.")


async def _not_found(request: Request, error: Exception) -> Response:
    return answer(Page(request), 404, "not found", "No such page", "Check the address for a typo.")


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the traceback itself. This response bypasses the guard, so its headers are added here.
    response = answer(Page(request), 500, "failed", "Internal error",
                   "Your earlier decisions are stored. The terminal of ‘inkmill web’ shows what happened.")  # fmt: skip
    response.headers.update(HEADERS)
    return response
