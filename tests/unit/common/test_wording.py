"""What is told to people is text, whatever was in it."""

from __future__ import annotations

import json

import pytest

from common.wording import counted, folded, on_one_line, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("C1 \x9b2J", "C1 \\u009b2J"),
        ("gnp.\u202egpj", "gnp.\\u202egpj"),
        ("\u2066isolated\u2069", "\\u2066isolated\\u2069"),
        ("back\x08space and return\r", "back\\u0008space and return\\u000d"),
        ("half \udc9b", "half \\udc9b"),
        ("café 你好 שלום 🐎", "café 你好 שלום 🐎"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_json_that_was_made_visible_says_the_same() -> None:
    said = {"name": "a\x7f\x9b31m\u202eb", "text": "\x1b[0m\n"}
    document = visible(json.dumps(said, ensure_ascii=False, indent=2))
    assert document.isascii() and json.loads(document) == said


def test_a_name_forges_no_line() -> None:
    assert on_one_line("a\njob 2 completed\u2028\tb") == "a\\njob 2 completed\\u2028\\tb"


def test_a_long_text_is_folded_to_a_line() -> None:
    assert folded("one\n two\tthree", 20) == "one two three"
    assert folded("word " * 100, 20) == "word word word word…"
    assert folded(" " * 1000 + "late", 20) == "…"


def test_nouns_agree_with_their_numbers() -> None:
    assert [counted(n, "prompt") for n in (0, 1, 2, 12_000)] == ["0 prompts", "1 prompt", "2 prompts", "12,000 prompts"]
    assert counted(2, "batch", "batches") == "2 batches"
