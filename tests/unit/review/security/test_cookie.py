"""Cookies behind TLS, notices that fit into one, and what a page says of a database that is away."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from starlette.requests import Request

from contract.errors import DatabaseUnreachable
from db.session.engine import Database
from review import reflagging
from review.context import NOTICE, Page
from review.reflagging import ReflagRun
from review.security.access import OneTimeToken
from tests.unit.review.site import Site


def signed_in_with(site: Site, **headers: str) -> str:
    """The cookie that signing in sets."""
    assert isinstance(site.access, OneTimeToken)
    answer = site.browser.post("/sign-in", data={"token": site.access.token}, headers=headers)
    return str(answer.headers["set-cookie"]).lower()


def test_behind_tls_every_cookie_goes_over_tls_alone(one_database: Database) -> None:
    site = Site(one_database, secure=True)
    site.browser.base_url = "https://127.0.0.1"
    assert "; secure" in signed_in_with(site)
    saved = site.post("/preferences", {"theme": "dark"})
    assert saved.status_code == 303 and "; secure" in saved.headers["set-cookie"].lower()
    assert "; secure" not in signed_in_with(Site(one_database))


def test_nobody_makes_the_server_believe_in_tls_by_a_header(one_database: Database) -> None:
    assert "; secure" not in signed_in_with(Site(one_database), **{"x-forwarded-proto": "https"})


@pytest.mark.parametrize("character", ["a", "é", "雨", "🙂", "%"])
def test_a_notice_of_any_script_fits_into_a_cookie(one_database: Database, character: str) -> None:
    site = Site(one_database)
    page = Page(Request({"type": "http", "headers": [], "app": site.app}))
    (cookie,) = [
        value for value in page.back("/queue", character * 9000).headers.getlist("set-cookie") if NOTICE in value
    ]
    assert len(cookie) < 4096
    said = unquote(cookie.partition("=")[2].partition(";")[0])
    assert said.startswith(f"good:{character * 200}")


def test_where_the_database_lies_is_told_to_the_terminal_alone(
    one_database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseUnreachable("the database postgresql://u@db.example/x does not answer: refused")

    monkeypatch.setattr(reflagging, "reflag_job", away)
    run = ReflagRun("toxicity", 0.5)
    reflagging._apply(run, one_database, 1)
    assert run.error is not None and "db.example" not in run.error and "does not answer" in run.error
    assert "db.example" in caplog.text
