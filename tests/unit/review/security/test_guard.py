"""Who may ask for what: hosts, cookies, forged requests, and that looking changes nothing."""

from __future__ import annotations

import re
import time

import pytest
from sqlalchemy import select

from db.models import Base
from db.session.engine import Database
from db.tuning.tunings import NewTuning, insert_tuning
from review.security.access import OneTimeToken
from review.security.body import REVIEWERS
from review.security.cookie import COOKIE_SECONDS, CookieSigner
from review.security.hosts import Hosts
from tests.unit.review.site import HERE, JSON, KEY, PORT, Site

DECIDE = "/outputs/3/decisions"
WRITES = [DECIDE, "/undo", "/bulk/confirm", "/bulk/decisions", "/bulk/undo", "/claims", "/claims/release",
          "/queue/next", "/outputs/3/words", "/outputs/3/score-again", "/preferences", "/sign-out"]  # fmt: skip


WORK = ("/jobs", "/workers", "/tunings")  # whose forms are tried together


def everything(database: Database) -> dict[str, list[object]]:
    """Every row of every table."""
    with database.read() as connection:
        return {name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
                for name, table in Base.metadata.tables.items()}  # fmt: skip


def routes(site: Site, method: str) -> set[str]:
    """The paths that answer to a method; an empty set would prove nothing."""
    found = {path for path, methods in site.app.openapi()["paths"].items() if method.lower() in methods}
    assert len(found) > 10
    return found


def test_every_page_asks_who_it_is(site: Site) -> None:
    stranger = site.another_browser()
    for path in routes(site, "GET") - {"/sign-in"}:
        answer = stranger.get(re.sub(r"{\w+}", "1", path))
        assert answer.status_code == 401, path
        assert "fools" not in answer.text


def test_every_form_asks_who_it_is(site: Site) -> None:
    stranger = site.another_browser()
    for path in routes(site, "POST") - {"/sign-in"}:
        assert stranger.post(re.sub(r"{\w+}", "1", path), data={"csrf": site.csrf}).status_code == 401, path


@pytest.mark.parametrize("csrf", [None, "", "wrong", "x" * 43])
@pytest.mark.parametrize("path", WRITES)
def test_every_form_refuses_a_missing_or_wrong_token(site: Site, path: str, csrf: str | None) -> None:
    before = everything(site.database)
    fields = {"action": "approve", "output": "3.0"} | ({} if csrf is None else {"csrf": csrf})
    assert site.browser.post(path, data=fields).status_code == 403
    assert everything(site.database) == before


def test_the_parametrized_forms_are_all_there_are(site: Site) -> None:
    ours = {re.sub(r"{\w+}", "3", path) for path in routes(site, "POST")}
    jobs = {path for path in ours if path.startswith(WORK)}
    assert ours - jobs == {*WRITES, "/sign-in"}


def test_the_forms_of_the_pages_of_work_refuse_a_missing_token_too(site: Site) -> None:
    for path in routes(site, "POST"):
        if path.startswith(WORK):
            assert site.browser.post(re.sub(r"{\w+}", "1", path)).status_code == 403, path


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": HERE, "sec-fetch-site": "cross-site"},
    ],
)
def test_another_sites_form_is_refused_even_with_the_right_token(site: Site, headers: dict[str, str]) -> None:
    answer = site.post(DECIDE, {"action": "approve"}, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert site.post(DECIDE, {"action": "approve"}, headers={"origin": HERE}).status_code == 303


@pytest.mark.parametrize("more", [{}, {"sec-fetch-site": "same-origin"}])
def test_a_refusal_behind_a_proxy_says_what_the_proxy_has_to_pass_on(site: Site, more: dict[str, str]) -> None:
    headers = {"origin": "https://review.example", "host": "127.0.0.1:8765"} | more
    answer = site.post(DECIDE, {"action": "approve"}, headers=headers)
    assert answer.status_code == 403
    for said in ("https://review.example", "127.0.0.1:8765", "Host and Origin", "proxy_set_header Host $http_host",
                 "--host-name review.example", "--behind-tls", "X-Forwarded-Host"):  # fmt: skip
        assert said in answer.text


def test_a_refusal_of_another_sites_form_speaks_of_no_proxy_and_runs_no_markup(site: Site) -> None:
    headers = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert "proxy" not in site.post(DECIDE, {"action": "approve"}, headers=headers).text
    hostile = site.post(DECIDE, {"action": "approve"}, headers={"origin": "http://<script>alert(1)</script>"})
    assert hostile.status_code == 403 and "<script>alert" not in hostile.text


def test_an_unknown_host_is_told_with_the_option_that_makes_it_known(site: Site) -> None:
    answer = site.get("/queue", headers={"host": "review.example:8443"})
    assert answer.status_code == 421 and "inkmill web --host-name review.example’" in answer.text


def test_another_site_cannot_sign_somebody_in(site: Site) -> None:
    stranger = Site(site.database)
    assert isinstance(stranger.access, OneTimeToken)
    fields = {"token": stranger.access.token}
    assert stranger.browser.post("/sign-in", data=fields, headers={"origin": "http://evil.example"}).status_code == 403
    assert stranger.browser.post("/sign-in", data=fields, headers={"origin": HERE}).status_code == 303


def test_no_get_changes_anything(site: Site) -> None:
    site.ask("/outputs/2/decisions", {"action": "reject"})
    insert_tuning(site.database, NewTuning(name="tales", base="gpt2", order={}, folder="tales"))
    before = everything(site.database)
    streams = {path for path in routes(site, "GET") if path.endswith(("/events", "/changes"))}
    for path in sorted(routes(site, "GET") - streams):
        for end in ("", "?token=x&action=approve&output=3&csrf=x&reveal=1&after=2&q=fools"):
            answer = site.get(re.sub(r"{\w+}", "1", path) + end)
            assert answer.status_code in (200, 303), (path, answer.text)
    assert everything(site.database) == before


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "192.168.1.5", "a@b"]
)
def test_a_name_that_was_pointed_here_is_refused(site: Site, host: str) -> None:
    answer = site.get("/queue", headers={"host": host})
    assert answer.status_code == 421
    assert "fools" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "127.0.0.1:9000"])
def test_this_computers_own_names_are_known(site: Site, host: str) -> None:
    assert site.get("/queue", headers={"host": host}).status_code == 200


def test_a_server_for_others_knows_its_addresses_and_the_names_it_was_told() -> None:
    hosts = Hosts("0.0.0.0", ["review.example"])
    assert hosts.knows("review.example:8765") and hosts.knows("192.168.1.5:8765") and hosts.knows("REVIEW.example.")
    assert not hosts.knows("evil.example")


def test_every_answer_carries_the_policies(site: Site) -> None:
    stranger = site.another_browser()
    answers = [site.get("/queue"), site.get("/static/page.css"), site.get("/nowhere"), stranger.get("/queue"),
               site.browser.post(DECIDE), site.get("/queue?state=nonsense")]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200, 404, 401, 403, 400]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert answers[0].headers["cache-control"] == "no-store"


def test_no_page_has_inline_script_or_style(site: Site) -> None:
    for path in ("/queue", "/outputs/2", "/outputs/3?reveal=1", "/bulk", "/progress", "/help", "/nowhere", "/jobs",
                 "/workers"):  # fmt: skip
        markup = site.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", markup), path
        assert not re.search(r'(src|href)="(https?:)?//', markup), path


def test_a_body_that_is_too_long_is_refused(site: Site) -> None:
    answer = site.post(DECIDE, {"action": "edit", "text": "x" * (REVIEWERS.longest + 1)})
    assert answer.status_code == 413


def test_a_cookie_that_somebody_changed_is_nobodys(one_database: Database) -> None:
    access = OneTimeToken("mara")
    signer = CookieSigner(KEY, access, PORT)
    good = signer.cookie("mara")
    body, _, signature = good.rpartition(".")
    name, expires, rest = body.split(".")
    found = signer.read(good)
    assert found is not None and found.name == "mara"
    bodies = [
        f"{name}.{int(expires) + 1}.{rest}",
        f"AAAA.{expires}.{rest}",
        f"{name}.٣.{rest}",
        f"\xff.{expires}.{rest}",
    ]
    changed = f"{signature[:-2]}{'A' if signature[-2] != 'A' else 'B'}{signature[-1]}"
    forged = ["", ".", "a.b.c.d", f"{body}.", f"{body}.{changed}", *(f"{other}.{signature}" for other in bodies)]
    assert [signer.read(cookie) for cookie in forged] == [None] * len(forged)
    assert signer.read(good, now=time.time() + COOKIE_SECONDS + 5) is None
    assert CookieSigner(b"another key" * 3, access, PORT).read(good) is None
    assert CookieSigner(KEY, OneTimeToken("noor"), PORT).read(good) is None


def test_the_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    fresh = Site(site.database)
    assert isinstance(fresh.access, OneTimeToken)
    said = fresh.browser.post("/sign-in", data={"token": fresh.access.token}).headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and "path=/" in said


def test_scripts_get_errors_they_can_read(site: Site) -> None:
    assert site.another_browser().get("/queue", headers=JSON).json()["error"] == "sign in"
    assert site.ask("/outputs/999/decisions", {"action": "approve"}).status_code in (400, 404)
    assert site.ask(DECIDE, {"action": "burn"}).json()["error"] == "invalid"
