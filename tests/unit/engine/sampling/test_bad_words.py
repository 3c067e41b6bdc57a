"""Words never to write: whatever is drawn of what is not banned, no text contains one; and hardly more is banned."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import Tiny, load_tiny, run_all, settings

from tests.examples import examples
from worker.engine.fallback.one_by_one import FallbackEngine
from worker.engine.sampling.bad_words import BadWords, TextEnd
from worker.engine.sequence import Completion, Request
from worker.engine.text.pieces import Pieces
from worker.engine.text.written import WrittenText

SPACELESS = "猫犬ばｶไຂ"
WHOLE = ["a", "b", "ab", "ba", "é", "_", "1", ".", " ", " a", "b.", "가", "aab", "-ba", *SPACELESS]
"""Pieces of whole characters."""
HALVES = [
    b"\xc3",
    b"\xa9",
    b"\xa9b",
    b"a\xc3",
    b"\xe7\x8c",
    b"\xab",
    "\u0301".encode(),
    "\u0301a".encode(),
    b"\xff",
    b"\0",
]

words = st.lists(st.text("abé_1. 가\u0301" + SPACELESS, min_size=1, max_size=3), min_size=1, max_size=4)


def contains(text: str, word: str, match: str) -> bool:
    """The promise spelled out once more, on characters."""
    for place in range(len(text)):
        if text.startswith(word, place):
            before, after = text[:place], text[place + len(word) :]
            inside = wordlike(word[0]) and wordlike(base(before))
            goes_on = wordlike(base(word)) and (wordlike(after[:1]) or is_mark(after[:1]))
            if match == "substring" or not (inside or goes_on):
                return True
    return False


def base(text: str) -> str:
    """The last character that is no mark."""
    return next((character for character in reversed(text) if not is_mark(character)), "")


def is_mark(character: str) -> bool:
    return character != "" and unicodedata.category(character).startswith("M")


def wordlike(character: str) -> bool:
    return character == "_" or (character.isalnum() and character not in SPACELESS)


def pieces_of(*written: str | bytes) -> Pieces:
    return Pieces({token: piece.encode() if isinstance(piece, str) else piece for token, piece in enumerate(written)})


def shown(text: bytes) -> str:
    return text.decode("utf-8", "replace").replace("\0", "\ufffd")


@pytest.mark.parametrize("match", ["word", "substring"])
@examples(150)
@given(words, st.integers(0, 2**32))
def test_exactly_those_tokens_are_banned_with_which_a_text_would_contain_a_word(
    match: str, bad_words: list[str], seed: int
) -> None:
    chance, pieces = random.Random(seed), pieces_of(*WHOLE)
    rules = BadWords(bad_words, pieces, whole=match == "word")
    end, text = TextEnd(rules), b""
    for _ in range(20):
        expected = {
            token
            for token in range(len(WHOLE))
            if any(contains(shown(text + pieces.piece(token)), word, match) for word in bad_words)
        }
        assert set(end.banned.tolist()) == expected, text
        left = sorted(set(range(len(WHOLE))) - expected)
        if not left:
            return
        token = chance.choice(left)
        end.append(token)
        text += pieces.piece(token)


@pytest.mark.parametrize("match", ["word", "substring"])
@examples(300)
@given(words, st.integers(0, 2**32), st.lists(st.sampled_from([".", "ab", "é", "-"]), max_size=2))
def test_a_text_may_end_after_any_token_and_at_any_stop_string_without_containing_a_word(
    match: str, bad_words: list[str], seed: int, stops: list[str]
) -> None:
    chance, written = random.Random(seed), [*WHOLE, *HALVES]
    pieces = pieces_of(*written)
    end, text = TextEnd(BadWords(bad_words, pieces, whole=match == "word", stops=stops)), b""
    for _ in range(30):
        left = sorted(set(range(len(written))) - set(end.banned.tolist()))
        if not left:
            return
        token = chance.choice(left)
        end.append(token)
        text += pieces.piece(token)
        for stop in ("", *stops):
            place = text.find(stop.encode()) if stop else len(text)
            assert not any(contains(shown(text[:place]), word, match) for word in bad_words if place >= 0), text


SINGLE = [bytes([byte]) for byte in {*"ab_1 .-é가猫\u0301\ufffd".encode(), 0xFF}]
"""Tokens that stand for a byte each, and are decoded together where they stand together."""


@pytest.mark.parametrize("match", ["word", "substring"])
@examples(150)
@given(words, st.integers(0, 2**32), st.lists(st.sampled_from([".", "ab", "é", "-"]), max_size=2))
def test_the_same_holds_where_bytes_that_are_no_text_take_their_neighbours_with_them(
    match: str, bad_words: list[str], seed: int, stops: list[str]
) -> None:
    chance, count = random.Random(seed), len(WHOLE) + len(SINGLE)
    written = (piece.encode() if isinstance(piece, str) else piece for piece in [*WHOLE, *SINGLE])
    pieces = Pieces(dict(enumerate(written)), range(len(WHOLE), count))
    end, tokens = TextEnd(BadWords(bad_words, pieces, whole=match == "word", stops=stops)), list[int]()
    for _ in range(30):
        left = sorted(set(range(count)) - set(end.banned.tolist()))
        if not left:
            return
        tokens.append(chance.choice(left))
        end.append(tokens[-1])
        for stop in ("", *stops):
            text = ended_by(stop, tokens, pieces)
            assert not any(contains(text, word, match) for word in bad_words), (text, tokens)


def ended_by(stop: str, tokens: list[int], pieces: Pieces) -> str:
    """The text of some tokens, up to a stop string where it has that."""
    text = WrittenText(pieces)
    for token in tokens:
        text.append(token)
    place = text.find(stop.encode(), 0) if stop else -1
    if place >= 0:
        text.cut(place)
    return text.finished()


def test_a_word_behind_letters_that_a_byte_beside_them_makes_unreadable_is_a_whole_word() -> None:
    pieces = Pieces(dict(enumerate([b"the", b"then", b"\xff", b" ", b"b", b"a", b"\xe2"])), range(2, 7))

    def banned_after(*tokens: int) -> set[int]:
        end = TextEnd(BadWords(["the"], pieces))
        for token in tokens:
            end.append(token)
        return set(end.banned.tolist())

    assert banned_after(4, 5) == set()  # "bathe"
    assert banned_after(2, 4, 5) == {0}  # three U+FFFD, "the"
    assert banned_after(2, 3, 4, 5) == {0}
    assert banned_after(2, *([4, 5] * 40)) == {0}
    assert banned_after(4, 5, 6) == {0}


def banned(text: str, word: str, vocabulary: list[str], **how: object) -> set[str]:
    """What may not follow a text of single letters."""
    vocabulary = [*sorted(set(text)), *vocabulary]
    pieces = pieces_of(*vocabulary)
    end = TextEnd(BadWords([word], pieces, **how))  # type: ignore[arg-type]
    for letter in text:
        end.append(vocabulary.index(letter))
    return {vocabulary[token] for token in end.banned} - set(text)


@pytest.mark.parametrize(
    ("text", "word", "asked", "refused"),
    [
        ("", "the", ["the", " the", " then", " the.", "The", "or the", "bathe"], {"the", " the", " the.", "or the"}),
        ("ba", "the", ["the", " the", "th"], {" the"}),  # "bathe" is another word
        ("th", "the", ["e", "en", "e!", "E"], {"e", "e!"}),
        ("", "c++", ["c++", "c++17", "abc++"], {"c++", "c++17"}),
        ("", "猫", ["猫", "黒猫が", "犬"], {"猫", "黒猫が"}),
        ("君は", "fool", ["fool", "foolだ", "fools"], {"fool", "foolだ"}),
        ("", "café", ["café", "cafés", "cafe", "cafe\u0301"], {"café"}),
        ("", "cafe", ["cafe", "cafe\u0301"], {"cafe"}),
        ("", "\ufffd", ["a", "\ufffd", "é"], {"\ufffd"}),
    ],
)  # fmt: skip
def test_a_word_is_banned_where_it_stands_alone(text: str, word: str, asked: list[str], refused: set[str]) -> None:
    assert banned(text, word, asked) == refused


def test_a_stop_string_that_could_cut_a_text_behind_a_word_makes_it_whole() -> None:
    assert banned("", "the", ["then", "there"], stops=["ner"]) == {"then"}


def test_what_is_no_text_is_banned_with_the_character_that_stands_for_it() -> None:
    end = TextEnd(BadWords(["\ufffd"], pieces_of("a", b"\xff", b"\xc3", b"a\0")))
    assert set(end.banned.tolist()) == {1, 2, 3}


def test_a_thousand_words_of_a_thousand_letters_that_a_text_goes_along_with_cost_a_step_little() -> None:
    """The worst there is: every place of the text begins every word."""
    long = [f"{'w' * 990}{number:010}" for number in range(1000)]
    pieces = pieces_of("w", "ww", "www", "0", "7", *(f"w{number}" for number in range(10)))
    end = TextEnd(BadWords(long, pieces, whole=False))
    slowest = 0.0
    for _ in range(340):
        began = time.perf_counter()
        assert len(end.banned) == 0
        end.append(2)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.5
    for _ in range(9):
        end.append(3)
    assert end.banned.tolist() == [3, 4]


@pytest.fixture(scope="module")
def fallback(tiny: Tiny) -> FallbackEngine:
    return FallbackEngine(load_tiny(tiny.folder).reference, tiny.vocabulary)


FRAGMENTS = ["the", "mill", "er", "e", " ", "a", "\n", "wheel", "東", "é", "Once", "upon a", "turn", ".", "o", "🙂"]


@pytest.mark.parametrize("match", ["word", "substring"])
@examples(25)
@given(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=5),
    st.sampled_from([{}, {"do_sample": False}, {"stop": ("er", "n")}, {"min_new_tokens": 20, "top_k": 0}]),
    st.sampled_from(["Once upon", "", "The mill", "ba"]),
    st.integers(0, 2**53 - 1),
)
def test_no_engine_writes_a_bad_word(
    tiny: Tiny,
    fallback: FallbackEngine,
    match: str,
    bad_words: list[str],
    own: dict[str, object],
    prompt: str,
    seed: int,
) -> None:
    asked = settings(max_new_tokens=20, bad_words=tuple(bad_words), bad_words_match=match, **own)
    for engine in (tiny.engine(2), fallback):
        done = run_all(engine, [Request(0, prompt, asked, seed)])[0]
        assert isinstance(done, Completion)
        assert not any(contains(done.text, word, match) for word in bad_words), done.text
