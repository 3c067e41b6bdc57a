"""Tokens: one that works once, and a file of several."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.errors import DatabaseUnreachable, UsageError
from db.session.engine import Database
from review.security.access import OneTimeToken, TokenFile
from review.security.cookie import CookieSigner, stored_key
from tests.unit.review.site import PORT, Site

LONG = "t" * 30


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_printed_token_works_once() -> None:
    access = OneTimeToken("mara")
    assert access.enter("wrong") is None
    assert access.enter(access.token) == "mara"
    assert access.enter(access.token) is None


def test_opening_the_address_spends_nothing_and_the_button_does(one_database: Database) -> None:
    site = Site(one_database)
    assert isinstance(site.access, OneTimeToken)
    address = f"/sign-in?token={site.access.token}"
    for _ in range(3):  # a preview, a virus scanner, the reader
        assert "Start reviewing" in site.get(address).text
    site.sign_in()
    late = site.another_browser().post("/sign-in", data={"token": site.access.token})
    assert late.status_code == 403
    assert "already been used" in late.text
    assert site.browser.post("/sign-in", data={"token": site.access.token}).status_code == 303


def test_signing_out_ends_it(one_database: Database) -> None:
    site = Site(one_database).sign_in()
    assert site.get("/queue").status_code == 200
    site.post("/sign-out")
    assert site.get("/queue").status_code == 401


def test_a_cookie_that_was_kept_is_dead_after_signing_out_here_and_everywhere(database: Database) -> None:
    site = Site(database).sign_in()
    name = site.services.signer.cookie_name
    kept = site.browser.cookies[name]
    beside = Site(database)  # another `inkmill web`, and one that was started again
    beside.browser.cookies.set(name, kept)
    assert beside.get("/queue").status_code == 200
    assert site.post("/sign-out").status_code == 303
    site.browser.cookies.set(name, kept)
    for one in (site, beside, Site(database)):
        one.browser.cookies.set(name, kept)
        assert one.get("/queue").status_code == 401
        assert one.browser.post("/outputs/1/decisions", data={"action": "approve"}).status_code == 401


def test_signing_out_ends_that_sitting_alone(one_database: Database, tmp_path: Path) -> None:
    access = TokenFile(written(tmp_path / "tokens", f"mara {LONG}1\nnoor {LONG}2"))
    here, there, noor = (Site(one_database, access).sign_in(f"{LONG}{n}") for n in (1, 1, 2))
    here.post("/sign-out")
    assert [site.get("/queue").status_code for site in (here, there, noor)] == [401, 200, 200]


def test_signing_in_anew_ends_the_sitting_before(one_database: Database, tmp_path: Path) -> None:
    site = Site(one_database, TokenFile(written(tmp_path / "tokens", f"mara {LONG}1"))).sign_in(f"{LONG}1")
    name = site.services.signer.cookie_name
    kept = site.browser.cookies[name]
    site.sign_in(f"{LONG}1")
    assert site.get("/queue").status_code == 200
    other = Site(one_database, site.access)
    other.browser.cookies.set(name, kept)
    assert other.get("/queue").status_code == 401


def test_a_stream_ends_with_its_sitting(one_database: Database) -> None:
    site = Site(one_database).sign_in()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(site.get, "/workers/events")
        time.sleep(0.5)
        assert not stream.done()
        site.post("/sign-out")
        assert stream.result(10).text.startswith("event: ")


def test_who_cannot_be_asked_about_is_not_let_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnreachable("the database postgresql://u@db.example/x does not answer: refused")

    monkeypatch.setattr(site.database, "read", away)
    answer = site.get("/help")
    assert answer.status_code == 503
    assert "does not answer" in answer.text and "db.example" not in answer.text


def test_a_sitting_outlives_a_restart_of_the_server(one_database: Database) -> None:
    before = Site(one_database).sign_in()
    after = Site(one_database)
    after.browser.cookies.update(before.browser.cookies)
    assert after.get("/session").json() == before.get("/session").json()


def test_each_reviewer_of_a_token_file_enters_with_their_own(one_database: Database, tmp_path: Path) -> None:
    file = written(tmp_path / "tokens", f"# ours\nmara {LONG}1\n\nNoor van Dam  {LONG}2\n")
    access = TokenFile(file)
    assert access.names == ["Noor van Dam", "mara"]
    site = Site(one_database, access).sign_in(f"{LONG}2")
    assert site.get("/session").json()["reviewer"] == "Noor van Dam"
    assert Site(one_database, access).browser.post("/sign-in", data={"token": LONG}).status_code == 403


def test_a_cookie_dies_with_its_token(one_database: Database, tmp_path: Path) -> None:
    old = TokenFile(written(tmp_path / "old", f"mara {LONG}1\nnoor {LONG}2"))
    new = TokenFile(written(tmp_path / "new", f"mara {LONG}3\nnoor {LONG}2"))
    for name, token, status in (("mara", f"{LONG}1", 401), ("noor", f"{LONG}2", 200)):
        before, after = Site(one_database, old).sign_in(token), Site(one_database, new)
        after.browser.cookies.update(before.browser.cookies)
        assert after.get("/queue").status_code == status, name


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f"mara {LONG}", 0o644, "chmod 600"),
        (f"mara {LONG}", 0o620, "chmod 600"),
        ("mara", 0o600, "line 1: must be 'name token'"),
        ("\nmara short", 0o600, "line 2: the token of mara is shorter"),
        (f"mara {LONG}\nmara {LONG}x", 0o600, "line 2: mara already has a token, in line 1"),
        (f"mara {LONG}\nnoor {LONG}", 0o600, "same token"),
        ("", 0o600, "is empty"),
        (f"ma\x07ra {LONG}", 0o600, "reviewer's name"),
        ("mara " + "\0" * 30, 0o600, "line 1: the token of mara has an unprintable character"),
        ("\0" * 40, 0o600, "line 1: must be 'name token'"),
    ],
)
def test_a_token_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        TokenFile(written(tmp_path / "tokens", text, mode))


def test_a_token_file_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        TokenFile(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"\n", b"QUJD", b"\0" * 43, b"!" * 43, b"A" * 42])
def test_a_damaged_signing_key_is_made_anew_and_nobody_stays_in(
    one_database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    file = tmp_path / "review.key"
    file.write_bytes(content)
    key = stored_key(tmp_path)
    assert len(key) == 32 and stored_key(tmp_path) == key
    assert str(file) in caplog.text and "sign in again" in caplog.text
    site = Site(one_database, key=key)
    signer = CookieSigner(key, site.access, PORT)
    signer._key = b""  # as somebody at home who has the program and no key
    site.browser.cookies.set(signer.cookie_name, signer.cookie("mara"))
    assert site.get("/queue").status_code == 401


@pytest.mark.parametrize("key", [b"", b"k" * 31])
def test_no_server_signs_with_a_short_key(one_database: Database, key: bytes) -> None:
    with pytest.raises(UsageError, match="must have 32"):
        Site(one_database, key=key)


def test_the_signing_key_is_drawn_once_and_private(tmp_path: Path) -> None:
    key = stored_key(tmp_path / "home")
    assert len(key) == 32
    assert stored_key(tmp_path / "home") == key
    assert (tmp_path / "home" / "review.key").stat().st_mode & 0o077 == 0
