"""Texts as bytes: stop strings, characters split over tokens, how a sequence ends."""

from typing import Any

import pytest

from contract.spec import SamplingSettings
from worker.engine.sequence import Completion, Request, Sequence
from worker.engine.text.pieces import Pieces
from worker.engine.text.written import WrittenText


def written(pieces: list[bytes], *, single_bytes: bool = False, **settings: Any) -> Sequence:
    """A sequence fed with pieces until it is finished or they are used up.

    `single_bytes`: those of one byte are as SentencePiece's, to be decoded together.
    """
    request = Request("key", "prompt", SamplingSettings(**settings), 0)
    stops = tuple(stop.encode() for stop in request.settings.stop)
    single = [token for token, piece in enumerate(pieces) if len(piece) == 1] if single_bytes else []
    sequence = Sequence(request, 3, stops, WrittenText(Pieces(dict(enumerate(pieces)), single)))
    for token in range(len(pieces)):
        if sequence.finish_reason is None:
            sequence.append(token, -1.0)
    return sequence


def completed(pieces: list[bytes], **settings: Any) -> Completion:
    return written(pieces, **({"max_new_tokens": len(pieces)} | settings)).completion()


def test_a_text_that_reaches_max_new_tokens_ends_by_length() -> None:
    done = completed([b"a", b"b", b"c"])
    assert (done.text, done.finish_reason, done.tokens, done.prompt_tokens) == ("abc", "length", 3, 3)


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "tokens"),
    [
        ([b"one", b" END", b" two"], ("END",), "one ", 2),  # inside one token
        ([b"one E", b"N", b"D two", b"x"], ("END",), "one ", 3),  # over three
        ([b"aa", b"ab", b"x"], ("ab",), "aa", 2),  # a start that was no start
        ([b"a", b"aab", b"x"], ("aab",), "a", 2),  # begins in the token before
        ([b"xENDyS", b"TOP"], ("STOP", "END"), "x", 1),  # the one that is complete first
        ([b"abcdef", b"x"], ("cd", "abc"), "", 1),  # the earliest, not the first named
        ([b"END", b"x"], ("END",), "", 1),  # nothing before it
        ([b"\xe2\x82", b"\xac!", b"x"], ("€",), "", 2),  # a character split over tokens
        ([b"line\n", b"\n", b"x"], ("\n\n",), "line", 2),
    ],
)
def test_the_text_is_cut_before_the_earliest_stop_string(
    pieces: list[bytes], stop: tuple[str, ...], text: str, tokens: int
) -> None:
    done = completed(pieces, stop=stop)
    assert (done.text, done.finish_reason, done.tokens) == (text, "stop", tokens)


def test_a_stop_string_that_never_comes_changes_nothing() -> None:
    assert completed([b"EN", b"E", b"ND"], stop=("END",)).finish_reason == "stop"
    assert completed([b"EN", b"EN", b"EN"], stop=("END",)).finish_reason == "length"


def test_a_stop_string_wins_over_length_at_the_last_token() -> None:
    assert completed([b"a", b"END"], stop=("END",)).finish_reason == "stop"


def test_a_stop_string_has_no_effect_before_min_new_tokens_nor_later() -> None:
    done = completed([b"END", b"x", b"y", b"END", b"z"], stop=("END",), min_new_tokens=3)
    assert (done.text, done.tokens) == ("ENDxy", 4)


def test_a_stop_string_may_be_completed_by_the_token_that_reaches_min_new_tokens() -> None:
    assert completed([b"E", b"N", b"D", b"z"], stop=("END",), min_new_tokens=3).tokens == 3


def test_the_end_of_text_token_is_counted_and_not_part_of_the_text() -> None:
    sequence = written([b"a"], max_new_tokens=5)
    sequence.end(50256, -3.0)
    done = sequence.completion()
    assert (done.text, done.finish_reason, done.tokens, done.mean_logprob) == ("a", "stop", 2, -2.0)


def test_a_character_split_over_tokens_is_whole_in_the_text() -> None:
    assert completed([b"\xf0\x9f", b"\x99", b"\x82"]).text == "🙂"


def test_bytes_that_are_no_character_become_replacement_characters() -> None:
    assert completed([b"a\xf0\x9f", b"b"]).text == "a\ufffdb"


@pytest.mark.parametrize("single_bytes", [False, True])
@pytest.mark.parametrize(
    ("pieces", "stop", "text"),
    [
        ([b"a", b"\xe2", b"\x82"], (), "a"),  # ended by its length
        ([b"a", b"\xe2", b"\x82", b"END", b"x"], ("END",), "a"),  # by a stop string
        ([b"a", b"\xe2", b"\x82", b" E", b"ND", b"x"], (" END",), "a"),
        ([b"\xe2", b"\x82", b"\xac", b"\xf0", b"\x9f", b"END"], ("END",), "€"),
        ([b"a", b"\xef", b"\xbf", b"\xbd"], (), "a\ufffd"),  # written as such
        ([b"aa", b"\xff"], (), "aa\ufffd"),  # begins no character
        ([b"\xff", b"\xe2", b"\x82"], (), "\ufffd"),
        ([b"a\xe2\x82"], (), "a"),
        ([b"\xf0\x9f\x98", b"END"], ("END",), ""),
    ],
)
def test_an_unfinished_character_at_the_end_is_left_out_however_a_text_ends(
    single_bytes: bool, pieces: list[bytes], stop: tuple[str, ...], text: str
) -> None:
    assert completed(pieces, stop=stop, single_bytes=single_bytes).text == text


def test_an_unfinished_character_before_the_end_of_text_token_is_left_out() -> None:
    sequence = written([b"a", b"\xe2\x82"], max_new_tokens=5)
    sequence.end(50256, -3.0)
    assert sequence.completion().text == "a"


def test_a_stop_string_is_found_in_bytes_that_are_decoded_together_only_where_they_are_text() -> None:
    euro = [b"\xe2", b"\x82", b"\xac"]
    assert completed([b"a", *euro, b"x"], stop=("€",), single_bytes=True).tokens == 4
    broken = completed([b"\xff", *euro, b"b", b"x", b"yy"], stop=("€", "bx", "\ufffdyy"), single_bytes=True)
    assert (broken.text, broken.finish_reason) == ("\ufffd" * 5, "stop")


def test_a_null_character_becomes_a_replacement_character() -> None:
    assert completed([b"a\0", b"b"]).text == "a\ufffdb"


def test_an_unfinished_sequence_has_no_completion() -> None:
    with pytest.raises(ValueError, match="not finished"):
        written([b"a"], max_new_tokens=2).completion()


def test_what_is_shown_of_a_text_before_its_end_stays() -> None:
    pieces = [b"one E", b"N", b"X \xe2\x82", b"\xac E", b"ND two"]
    shown = [written(pieces[:count], stop=("END",), max_new_tokens=9).so_far() for count in range(1, 6)]
    assert shown == ["one ", "one ", "one ENX ", "one ENX € ", "one ENX € "]


def test_of_stop_strings_the_one_that_is_furthest_begun_is_held_back() -> None:
    assert written([b"xaba"], stop=("ab!", "aba!"), max_new_tokens=9).so_far() == "x"
