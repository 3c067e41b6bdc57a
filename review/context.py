"""The context of a request handler: the database, the reviewer, their preferences, and templates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

import jinja2
from fastapi import Depends, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from common import times
from common.wording import counted
from db.session.engine import Database
from review.preferences import COOKIE, Preferences, read_preferences
from review.security.cookie import SignedIn, read_cookies
from review.services import Services
from review.show import formatting
from review.show.text_markup import marked, plain, visible

NOTICE = "inkmill-notice"
MOST_NOTICE = 3600  # bytes
STATIC = Path(__file__).parent / "static"

environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters |= {
    "visible": visible,
    "plain": plain,
    "marked": marked,
    "number": formatting.number,
    "counted": counted,
    "score": formatting.score,
    "at_least": formatting.at_least,
    "duration": times.duration,
    "ago": formatting.ago,
    "at": formatting.at,
    "at_offset": formatting.at_offset,
    "iso": times.iso,
    "label": formatting.label,
    "whose": formatting.whose,
}


def static(name: str) -> str:
    """The address of a style sheet or a script. Scripts import each other by it, so it has no version in it."""
    return f"/static/{name}"


environment.globals["static"] = static


class Page:
    """One request, as a handler sees it."""

    def __init__(self, request: Request) -> None:
        self.request = request

    @property
    def services(self) -> Services:
        services: Services = self.request.app.state.services
        return services

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def signed_in(self) -> SignedIn | None:
        signed_in: SignedIn | None = getattr(self.request.state, "signed_in", None)
        return signed_in

    @property
    def reviewer(self) -> str:
        """The name of the signed-in reviewer; empty on pages that need none."""
        return self.signed_in.name if self.signed_in else ""

    @property
    def csrf(self) -> str:
        return self.signed_in.csrf if self.signed_in else ""

    @cached_property
    def cookies(self) -> dict[str, str]:
        return read_cookies(self.request.headers)

    @cached_property
    def preferences(self) -> Preferences:
        return read_preferences(self.cookies.get(COOKIE, ""))

    @property
    def wants_json(self) -> bool:
        """Whether the page's own script asks, not the browser itself."""
        return "application/json" in self.request.headers.get("accept", "")

    @property
    def here(self) -> str:
        """This page's path and query string."""
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query else url.path

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A rendered template. `current` marks an entry of the navigation."""
        response = HTMLResponse(self.fragment(template, **values), status)
        if NOTICE in self.cookies:
            response.delete_cookie(NOTICE)
        return response

    def fragment(self, template: str, **values: Any) -> Markup:
        """A rendered template as markup."""
        shared: Mapping[str, Any] = {
            "page": self,
            "current": "",
            "reviewer": self.reviewer,
            "preferences": self.preferences,
            "csrf": self.csrf,
            "csrf_field": self._csrf_field,
            "notice": self._notice(),
        }
        # Templates escape what they are given.
        return Markup(environment.get_template(template).render({**shared, **values}))  # noqa: S704

    def back(self, url: str, notice: str = "", *, notice_kind: str = "good") -> Response:
        """Redirects after a form, with a notice for the next page to show."""
        response = RedirectResponse(safe_address(url), 303)
        if notice:
            response.set_cookie(NOTICE, _short_cookie(notice_kind, notice), max_age=60, httponly=True,
                                samesite="strict", secure=self.services.config.secure)  # fmt: skip
        return response

    def _notice(self) -> tuple[str, str] | None:
        kind, colon, text = unquote(self.cookies.get(NOTICE, "")).partition(":")
        return (kind, text) if colon and kind in ("good", "danger", "warning") else None

    def _csrf_field(self) -> Markup:
        return Markup('<input type="hidden" name="csrf" value="{}">').format(self.csrf)


def _short_cookie(kind: str, notice: str) -> str:
    """A notice as a cookie value. Browsers drop cookies over 4096 bytes, and a character may take twelve."""
    value = quote(f"{kind}:{notice[:500]}")
    return value if len(value) <= MOST_NOTICE else quote(f"{kind}:{notice[: MOST_NOTICE // 12 - 16]}…")


def safe_address(url: str) -> str:
    """An address on this server; the queue instead of any other."""
    is_local = url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable() and "\\" not in url
    return url if is_local else "/queue"


CurrentPage = Annotated[Page, Depends(Page)]
