"""Values that nobody types: each gets one clear answer, on either database, and none breaks a page."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from contract.errors import UsageError
from contract.review import LONGEST_QUERY, Filter
from db.review.queue import read_page
from review.queue_view import PARAMETERS
from review.security.cookie import CookieSigner
from review.security.form import MOST_FIELDS, Form
from tests.unit.review.site import JSON, KEY, PORT, Site

LONG = "a" * 50_001
HOSTILE = ["a%00b", "%ED%A0%80", "%F0%9F%92%A9" * 90, str(2**63), "9" * 5000, "-1", "nan", "1e999", "%27", "%22",
           "%25%5C", "%0D%0Ax:y", LONG, "%22" * 400, "a%20" * 249]  # fmt: skip
ASKED = [*(f"/queue?{word}=" for word in ("state", "job", "model", "low", "reason", "reviewer", "q", "order", "after")),
         *(f"/queue?label=toxicity&{word}=" for word in ("low", "high", "order")), "/queue?label=", "/bulk?cursor=",
         "/bulk?state=all&reason=", "/queue/rail?cursor=", "/jobs?before=", "/jobs/1/advice?label=",
         "/jobs/1/advice?at=", "/sign-in?token=", "/outputs/1?reveal=", "/progress?q="]  # fmt: skip
"""Each value that a page takes from its address."""
SENT = ["/outputs/1/decisions?" + one for one in ("action=", "action=approve&reason=", "action=edit&text=",
        "action=approve&expected=", "action=approve&key=")] + [
        "/undo?output=", "/undo?expected=", "/undo?key=", "/bulk/confirm?action=approve&output=",
        "/bulk/confirm?action=approve&scope=", "/bulk/decisions?action=approve&scope=all&selection=",
        "/bulk/decisions?action=approve&output=2.0&reason=", "/bulk/decisions?action=approve&output=3.0&key=",
        "/bulk/undo?of=", "/bulk/undo?key=", "/claims?output=", "/claims/release?output=", "/queue/next?after=",
        "/jobs/1/retry?reason=", "/jobs/1/advice?label=", "/jobs/1/advice?label=toxicity&threshold=",
        "/jobs/1/advice?label=toxicity&threshold=1&current=", "/preferences?theme=", "/preferences?keys=",
        "/preferences?cover=", "/preferences?back=", "/sign-in?token="]  # fmt: skip
"""Each value that a form brings along."""
CLEAR = {200, 303, 400, 403, 404, 405, 409, 413}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:12])
def test_no_value_in_an_address_breaks_a_page(both: Site, value: str) -> None:
    for asked in ASKED:
        answer = both.get(asked + value)
        assert answer.status_code in CLEAR, (asked, answer.status_code)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:12])
def test_no_value_in_a_form_breaks_a_page(both: Site, value: str) -> None:
    headers = JSON | {"content-type": "application/x-www-form-urlencoded", "x-csrf-token": both.csrf}
    views = [f"/queue/next?view={quote(f'{word}={value}')}" for word in PARAMETERS]
    for asked, _, sent in (one.partition("?") for one in [*(f"{one}{value}" for one in SENT), *views]):
        answer = both.browser.post(asked, content=sent, headers=headers)
        assert answer.status_code in CLEAR, (asked, sent[:60], answer.status_code)


@pytest.mark.parametrize("value", [*HOSTILE, "0", "1%20", "+1", "0x1"], ids=lambda value: value[:12])
def test_no_number_in_an_address_breaks_a_page(site: Site, value: str) -> None:
    for path in ("/outputs/{}", "/outputs/{}/card", "/jobs/{}", "/jobs/{}/charts", "/static/{}", "/{}"):
        assert site.get(path.format(value)).status_code in {200, 307, 404, 405}, path  # "+1" is 1
    assert site.ask(f"/outputs/{value}/decisions", {"action": "approve"}).status_code in {200, 404}


@pytest.mark.parametrize("value", ["\0", "%00", "\xff", "\xed\xa0\x80", '"\\355\\240\\200"', '"' + "\\" * 9000,
                                   "9" * 5000, "a;b=c;;=;=d", "%ED%A0%80", "good:%00%ED%A0%80", LONG])  # fmt: skip
def test_no_header_breaks_a_page(site: Site, value: str) -> None:
    ours = site.services.signer.cookie_name
    raw = value.encode("latin-1")
    good = site.browser.cookies[ours].encode()
    name = ours.encode()
    for header, sent in [
        *((header, raw) for header in (b"host", b"origin", b"sec-fetch-site", b"x-csrf-token", b"accept", b"cookie")),
        (b"cookie", name + b"=" + raw),
        (b"cookie", name + b"=" + good + raw),
        *((b"cookie", name + b"=" + good + b"; " + other + b"=" + raw)
          for other in (b"inkmill-notice", b"inkmill-preferences", b"a", b"")),
    ]:  # fmt: skip
        for method in ("GET", "POST"):
            headers = [(header, sent)] if header == b"cookie" else [(b"cookie", name + b"=" + good), (header, sent)]
            answer = site.another_browser().request(method, "/help", headers=headers)
            assert answer.status_code in CLEAR | {401, 421}, (header, answer.status_code)


def test_no_cookie_breaks_the_signer(site: Site) -> None:
    signer = CookieSigner(KEY, site.access, PORT)
    name, until, sitting, _ = signer.cookie("mara").split(".")
    for part in ("", "\0", "\xff", "٣", "9" * 400, "\ud800", "=" * 9, LONG):
        for cookie in (f"{part}.{until}.{sitting}.x", f"{name}.{part}.{sitting}.x", f"{name}.{until}.{part}.x",
                       f"{name}.{until}.{sitting}.{part}"):  # fmt: skip
            assert signer.read(cookie) is None


@pytest.mark.parametrize("name", ["model", "reason", "reviewer", "query"])
@pytest.mark.parametrize(("value", "said"), [("a\0b", "U[+]0000"), ("a\ud800", "half a character"), (LONG, "at most")])
def test_what_cannot_be_asked_for_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .*{said}"):
        Filter(**{name: value})


def test_the_longest_query_of_any_words_is_searched(both: Site) -> None:
    for query in ("a " * (LONGEST_QUERY // 2), '"' + "a " * 240 + '"', "a* " * 160, "é" * LONGEST_QUERY, "²" * 100):
        assert len(read_page(both.database, Filter(query=query)).rows) < 4


def test_a_filter_of_the_longest_reason_finds_nothing_and_says_so(both: Site) -> None:
    for reason in ("%" * 5000, "\x01" * 5000, "🙂" * 5000, "/" * 5000, "\\" * 5000):
        assert read_page(both.database, Filter(reason=reason)).rows == ()


def test_a_form_has_no_character_that_cannot_be_stored() -> None:
    form = Form(b"text=a%00b%ED%A0%80\0&%00=x")
    assert form.one("text") == "a\ufffdb\ufffd\ufffd\ufffd\ufffd" and form.all("\ufffd") == ["x"]
    with pytest.raises(UsageError, match="at most 1,000 fields"):
        Form(b"a&" * MOST_FIELDS)
