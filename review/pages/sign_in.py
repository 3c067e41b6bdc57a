"""Signing in and out: a token is exchanged for a cookie. Opening the printed address alone changes nothing."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import JSONResponse, RedirectResponse, Response

from db.review.sittings import end_sitting
from review.context import CurrentPage, Page
from review.security.cookie import COOKIE_SECONDS
from review.security.form import CurrentForm

router = APIRouter()


@router.get("/sign-in", response_model=None)
def sign_in_page(page: CurrentPage, token: str = "") -> Response:
    """A button for the token in the printed address, or a field for a reviewer's own."""
    # A reviewer's own token in an address would sign in anyone who follows the link as that reviewer.
    token = token if page.services.config.access.by_address else ""
    if page.signed_in and not token:
        return page.back("/queue")
    return _form(page, token[:200])


@router.post("/sign-in", response_model=None)
def sign_in(page: CurrentPage, form: CurrentForm) -> Response:
    """Exchanges a valid token for the cookie."""
    name = page.services.config.access.enter(form.one("token").strip())
    if name is None:
        # The button was pressed twice: the first press signed them in.
        return page.back("/queue") if page.signed_in else _form(page, invalid=True, status=403)
    _end_sitting(page)  # a new one begins in this browser
    signer = page.services.signer
    response = RedirectResponse("/queue", 303)
    response.set_cookie(signer.cookie_name, signer.cookie(name), max_age=COOKIE_SECONDS, httponly=True,
                        samesite="strict", secure=page.services.config.secure, path="/")  # fmt: skip
    return response


@router.post("/sign-out", response_model=None)
def sign_out(page: CurrentPage) -> Response:
    """Ends the session, so that copies of its cookie are void too, and deletes the cookie."""
    _end_sitting(page)
    signer = page.services.signer
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(signer.cookie_name, path="/")
    return response


@router.get("/session", response_model=None)
def session(page: CurrentPage) -> Response:
    """Who is signed in, and their CSRF token: for a page that stayed open during a new sign-in."""
    return JSONResponse({"reviewer": page.reviewer, "csrf": page.csrf})


def _end_sitting(page: Page) -> None:
    if page.signed_in:
        end_sitting(page.database, page.signed_in.sitting, page.signed_in.expires, now=time.time())


def _form(page: Page, token: str = "", *, invalid: bool = False, status: int = 200) -> Response:
    by_address = page.services.config.access.by_address
    return page.render("sign_in.html", status=status, token=token, by_address=by_address, invalid=invalid, reload=False)
