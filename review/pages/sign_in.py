"""Signing in and out: a token is exchanged for a cookie. Opening the printed address alone changes nothing."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import JSONResponse, RedirectResponse, Response

from db.review.sittings import end_sitting
from review.context import CurrentPage, Page
from review.security.access import Access
from review.security.cookie import COOKIE_SECONDS, Signer
from review.security.form import CurrentForm

router = APIRouter()


@router.get("/sign-in", response_model=None)
def ask(page: CurrentPage, token: str = "") -> Response:
    """A button for the token of the printed address, or a field for one's own."""
    # A reviewer's own token in an address would sign whoever follows the link in as that reviewer.
    token = token if page.request.app.state.access.by_address else ""
    if page.who and not token:
        return page.back("/queue")
    return _form(page, token[:200])


@router.post("/sign-in", response_model=None)
def enter(page: CurrentPage, form: CurrentForm) -> Response:
    """Gives the cookie for a right token."""
    access: Access = page.request.app.state.access
    name = access.enter(form.one("token").strip())
    if name is None:
        # Twice the same button: the first one let them in.
        return page.back("/queue") if page.who else _form(page, wrong=True, status=403)
    _end_sitting(page)  # in this browser another one begins
    signer: Signer = page.request.app.state.signer
    response = RedirectResponse("/queue", 303)
    response.set_cookie(signer.cookie_name, signer.cookie(name), max_age=COOKIE_SECONDS, httponly=True,
                        samesite="strict", secure=page.secure, path="/")  # fmt: skip
    return response


@router.post("/sign-out", response_model=None)
def leave(page: CurrentPage) -> Response:
    """Ends the sitting, so that a copy of its cookie opens nothing either, and takes the cookie away."""
    _end_sitting(page)
    signer: Signer = page.request.app.state.signer
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(signer.cookie_name, path="/")
    return response


@router.get("/who", response_model=None)
def who(page: CurrentPage) -> Response:
    """Who is signed in and what their forms must carry: for a page that stayed open over a new signing in."""
    return JSONResponse({"reviewer": page.reviewer, "csrf": page.csrf})


def _end_sitting(page: Page) -> None:
    if page.who:
        end_sitting(page.database, page.who.sitting, page.who.until, now=time.time())


def _form(page: Page, token: str = "", *, wrong: bool = False, status: int = 200) -> Response:
    by_address = page.request.app.state.access.by_address
    return page.render("sign_in.html", status=status, token=token, by_address=by_address, wrong=wrong, again=False)
