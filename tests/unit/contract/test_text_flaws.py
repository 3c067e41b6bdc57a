"""What counts as an empty, a cut and a repeating text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.text_flaws import (
    REPEATED_CHARACTERS,
    REPEATS,
    TextFlaw,
    ends_in_repeats,
    has_visible_character,
    text_flaws,
)

SENTENCE = " I do not know what to say to you."


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t\r\n", "\u00a0\u2003\u3000", "\u200b\ufeff\u00ad\u2060", "\x00\x1b\x07", "\u2028\u2029",
     "\u3164\u2800", "\u202e \u202c", "\ufe0f\u200d", "\U000e0041"],
)  # fmt: skip
def test_a_text_of_which_nothing_can_be_seen_is_empty(text: str) -> None:
    assert not has_visible_character(text)
    assert TextFlaw.EMPTY in text_flaws(text, "stop", edited=False)


@pytest.mark.parametrize("text", [".", "\u200b.", "海", "é", "👩‍👩‍👧", "\ufffd", "ا", "\ue000", "—", "\n_\n"])
def test_a_text_of_which_anything_can_be_seen_is_not_empty(text: str) -> None:
    assert has_visible_character(text) and TextFlaw.EMPTY not in text_flaws(text, "stop", edited=False)


def test_a_text_that_ended_at_a_length_is_cut_unless_a_person_wrote_it() -> None:
    assert text_flaws(" a", "length", edited=False) == {TextFlaw.CUT}
    assert text_flaws(" a", "stop", edited=False) == text_flaws(" a", "length", edited=True) == set()
    assert text_flaws("", "length", edited=False) == {TextFlaw.CUT, TextFlaw.EMPTY}


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE * 3, "It began." + SENTENCE * 3, SENTENCE * 3 + SENTENCE[:20], SENTENCE * 3 + "\n\n  ",
        " no" * 20, "=" * 60, "a" * 40, "The end." + "\nNext.\nLast.\n" * 4, "这句话说了一遍又一遍没有完。" * 3,
        ("x" * 50 + "y" * 50) * 3, "".join(map(chr, range(200, 900))) * 3,
    ],
)  # fmt: skip
def test_a_text_that_ends_in_the_same_piece_again_and_again_is_repeating(text: str) -> None:
    assert ends_in_repeats(text) and TextFlaw.REPEATING in text_flaws(text, "stop", edited=False)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", SENTENCE, SENTENCE * 2, SENTENCE * 2 + SENTENCE[:20], SENTENCE * 3 + " Then he went home.", "ha " * 8,
        " ", " " * 100, "Wait" + "." * 30, " ".join(map(str, range(200))), "a" * 39, "ab" * 19 + "abc",
    ],
)  # fmt: skip
def test_a_text_that_ends_otherwise_is_not(text: str) -> None:
    assert not ends_in_repeats(text)


@given(st.text("ab ", max_size=8), st.text("ab c", min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 5))
def test_the_rule_is_the_one_that_is_stated(before: str, piece: str, times: int, more: int) -> None:
    text = (before + piece * times + piece[:more]).rstrip()
    stated = any(
        text[-length:-distance] == text[distance - length :]
        for distance in range(1, len(text))
        if (length := max(REPEATS * distance, REPEATED_CHARACTERS)) <= len(text)
    )
    assert ends_in_repeats(text) is stated


@pytest.mark.parametrize(
    "text", [("a" * 19 + "b") * 500 + "c" * 30, ("a" * 30 + "b") * 400 + "a" * 20, "ab" * 5000 + "c"]
)
def test_no_text_takes_long(text: str) -> None:
    began = time.perf_counter()
    ends_in_repeats(text)
    assert time.perf_counter() - began < 0.5
