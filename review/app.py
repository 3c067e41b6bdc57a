"""The application: pages, guard and error pages assembled. `server` binds and runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from db.review.sittings import has_ended
from db.session.engine import Database
from review import error_pages
from review.context import STATIC
from review.pages import advice, bulk, claim, decision, job, look, picture, progress, queue, sign_in, word, worker
from review.security.access import Access
from review.security.cookie import Signer
from review.security.guard import Guard
from review.security.hosts import Hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The configuration of one server."""

    access: Access
    hosts: Hosts
    key: bytes  # signs the cookies
    port: int
    secure: bool = False  # browsers reach it only over TLS
    audit_share: float = 0.0  # the share of randomly drawn unflagged outputs in the queue
    closing: Callable[[], bool] = lambda: False  # whether the server is shutting down: streams end then


def create_app(database: Database, serving: Serving) -> FastAPI:
    """The review page over an open database."""
    app = FastAPI(title="Inkmill", docs_url=None, redoc_url=None, openapi_url=None)
    signer = Signer(serving.key, serving.access, serving.port)
    app.state.database = database
    app.state.access = serving.access
    app.state.signer = signer
    app.state.audit_share = serving.audit_share
    app.state.secure = serving.secure
    app.state.closing = serving.closing
    error_pages.register(app)
    ended = partial(has_ended, database)
    app.add_middleware(Guard, hosts=serving.hosts, signer=signer, ended=ended, refusal=error_pages.refusal)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _home, methods=["GET"], response_model=None)
    for pages in (sign_in, queue, decision, claim, word, bulk, progress,
                  look, job, worker, picture, advice):  # fmt: skip
        app.include_router(pages.router)
    return app


def _home() -> Response:
    return RedirectResponse("/queue", 303)
