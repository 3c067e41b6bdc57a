"""Help, and the reviewer's preferences."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from review.context import CurrentPage
from review.preferences import COOKIE, changed
from review.security.form import CurrentForm

YEAR_SECONDS = 365 * 86400

router = APIRouter()


@router.get("/help", response_model=None)
def show_help(page: CurrentPage) -> Response:
    """The keys, the glossary and the preferences."""
    return page.render("help.html", current="help")


@router.post("/preferences", response_model=None)
def save_preferences(page: CurrentPage, form: CurrentForm) -> Response:
    """Saves preferences in the cookie. It is readable by scripts, since page.js writes it too: it grants nothing."""
    choices = {name: value for name in ("theme", "keys", "cover") if (value := form.one(name))}
    preferences = changed(page.preferences, choices)
    response = page.back(form.one("back", "/help"))
    response.set_cookie(COOKIE, preferences.cookie(), max_age=YEAR_SECONDS, samesite="strict",
                        secure=page.services.config.secure, path="/")  # fmt: skip
    return response
