"""Small parts of the page that stand alone: ranges of ids, events, figures in words."""

from __future__ import annotations

import pytest

from contract.errors import UsageError
from review.live.stream import message
from review.security.form import Form
from review.show.formatting import ago, label, score


def test_an_event_keeps_its_lines_and_nothing_ends_it_early() -> None:
    assert message('{"a": 1}', "output") == b'event: output\ndata: {"a": 1}\n\n'
    assert message("one\r\n\ntwo\u2028three", "x").decode() == "event: x\ndata: one\ndata: \ndata: two\u2028three\n\n"


def test_a_form_reads_what_browsers_send() -> None:
    form = Form(b"text=a%0D%0Ab+c&output=1&output=2&broken=%FF&number=%20")
    assert form.one("text") == "a\nb c"
    assert form.all("output") == ["1", "2"]
    assert form.one("broken") == "\ufffd"
    assert form.number("number") is None
    with pytest.raises(UsageError, match="broken"):
        form.number("broken")


def test_figures_are_words_that_people_read() -> None:
    assert [score(value) for value in (None, 0.999, 1.0, 0)] == ["–", "0.99", "1.00", "0.00"]
    assert [ago(1000, now) for now in (1010, 1070, 1300)] == ["just now", "a minute ago", "5 min ago"]
    assert [label(name) for name in ("identity_attack", "blocklist:rum")] == ["identity attack", "word “rum”"]
