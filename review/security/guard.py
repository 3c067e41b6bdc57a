"""Checks every request before any page sees it: its host, its reviewer, and that no other site sent it.

Pure ASGI, so that it does not buffer streams.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.errors import DatabaseUnreachable, UsageError
from review.security.access import same
from review.security.body import REVIEWERS, STRANGERS, BadBody, is_announced, read_body
from review.security.cookie import CookieSigner, SignedIn, read_cookies
from review.security.form import Form
from review.security.hosts import Hosts, host_of

SAFE_METHODS = ("GET", "HEAD")
PUBLIC = ("/static/", "/sign-in")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

log = logging.getLogger("inkmill.review")

Refusal = Callable[[Scope, int, str], ASGIApp]
"""Makes the response to a refused request from its status and reason."""


class Guard:
    """Lets valid requests through, with `state.signed_in` and `state.form` set."""

    def __init__(
        self, app: ASGIApp, *, hosts: Hosts, signer: CookieSigner, ended: Callable[[str], bool], refusal: Refusal
    ) -> None:
        self._app, self._hosts, self._signer, self._ended, self._refusal = app, hosts, signer, ended, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app, replay = await self._checked(scope, receive)
        await app(scope, replay, _with_headers(scope, send))

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[ASGIApp, Receive]:
        state: dict[str, Any] = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        state["signed_in"], state["form"], state["unread"] = None, Form(b""), is_announced(headers)
        if len(headers.getlist("host")) != 1 or not self._hosts.knows(headers["host"]):
            return self._refusal(scope, 421, "unknown host"), receive
        try:
            signed_in = state["signed_in"] = await self._signed_in(headers)
        except DatabaseUnreachable as error:
            log.error("%s", error)
            return self._refusal(scope, 503, "unreachable"), receive
        if signed_in and "connection" in state:
            state["connection"].is_a_reviewers()
        is_public = scope["path"].startswith(PUBLIC)
        if scope["method"] in SAFE_METHODS:
            return (self._app if signed_in or is_public else self._refusal(scope, 401, "sign in")), receive
        if not _own_origin(headers):
            return self._refusal(scope, 403, "another site"), receive
        if signed_in is None and not is_public:
            return self._refusal(scope, 401, "sign in"), receive
        try:
            body = await read_body(headers, receive, REVIEWERS if signed_in else STRANGERS)
            state["unread"] = False
            form = state["form"] = await run_in_threadpool(Form, body)
        except BadBody as bad:
            return self._refusal(scope, bad.status, bad.reason), receive
        except UsageError:
            return self._refusal(scope, 400, "too many"), receive
        if signed_in and not is_public and not same(headers.get("x-csrf-token") or form.one("csrf"), signed_in.csrf):
            return self._refusal(scope, 403, "forged"), receive
        return self._app, _replayed(body, receive)

    async def _signed_in(self, headers: Headers) -> SignedIn | None:
        signed_in = self._signer.read(read_cookies(headers).get(self._signer.cookie_name, ""))
        if signed_in is None or await run_in_threadpool(self._ended, signed_in.sitting):
            return None
        return signed_in


def _own_origin(headers: Headers) -> bool:
    """Whether our own page sent this. Browsers say where a form comes from; other programs do not."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    # Some privacy settings make a form's Origin "null": then only Sec-Fetch-Site counts.
    if origin is None or (origin == "null" and headers.get("sec-fetch-site") == "same-origin"):
        return True
    ours = headers["host"].lower()
    return host_of(origin) is not None and origin.lower().partition("://")[2] == ours


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _with_headers(scope: Scope, send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if scope["state"]["unread"]:
                headers["connection"] = "close"  # or the rest of the body would be received and dropped for ever
            for name, value in HEADERS.items():
                headers[name] = value
            if scope["path"].startswith("/static/"):
                headers["cache-control"] = "no-cache"  # revalidated each time
            else:
                headers["cache-control"] = "no-store"  # texts stay out of the browser's cache
        await send(message)

    return sending
