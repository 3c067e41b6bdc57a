"""The application: pages, guard and error pages assembled. `server` binds and runs it."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from db.review.sittings import has_ended
from db.session.engine import Database
from review import error_pages
from review.context import STATIC
from review.pages import advice, bulk, charts, claim, decision, help, job, progress, queue, scoring, sign_in, worker
from review.security.guard import Guard
from review.services import ServerConfig, Services
from review.tuning import pages as tuning


def create_app(database: Database, config: ServerConfig) -> FastAPI:
    """The review page over an open database."""
    app = FastAPI(title="Inkmill", docs_url=None, redoc_url=None, openapi_url=None)
    services = app.state.services = Services.of(database, config)
    error_pages.register(app)
    ended = partial(has_ended, database)
    app.add_middleware(Guard, hosts=config.hosts, signer=services.signer, ended=ended, refusal=error_pages.refusal)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _home, methods=["GET"], response_model=None)
    for pages in (sign_in, queue, decision, claim, scoring, bulk, progress,
                  help, job, tuning, worker, charts, advice):  # fmt: skip
        app.include_router(pages.router)
    return app


def _home() -> Response:
    return RedirectResponse("/queue", 303)
