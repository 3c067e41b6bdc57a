"""Where sentences are, in any script; and that a rude one scores the same whatever stands beside it."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.policy import ScoreBy
from worker.safety.detoxify import Classifier, load_classifier
from worker.safety.occlusion import without
from worker.safety.pieces import cut, judge, pieces_of, score_pieces
from worker.safety.sentences import LONGEST_SENTENCE, sentences

RUDE = "You are a stupid idiot, shut up!"
CALM = "The fox walked to the river and drank."


def found(text: str) -> list[str]:
    return cut(text, sentences(text))


@pytest.fixture(scope="module")
def demo() -> Classifier:
    return load_classifier("demo", device="cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" It rained. We stayed in!  Why? ", ["It rained.", "We stayed in!", "Why?"]),
        ("i hate rain. you do not.", ["i hate rain.", "you do not."]),
        ('She said "Go away." He went.', ['She said "Go away."', "He went."]),
        ("(So it was.) And then…", ["(So it was.)", "And then…"]),
        ("It cost 3.14 at www.mill.example/a.b today.", ["It cost 3.14 at www.mill.example/a.b today."]),
        ("Dear J. R. Miller, e.g. this.", ["Dear J. R. Miller, e.g. this."]),
        ("Well... no!!! Really?! Yes.", ["Well...", "no!!!", "Really?!", "Yes."]),
        ("one line\nanother\r\n\r\n- third\u2028last", ["one line", "another", "- third", "last"]),
        ("下雨了。我们留下！为什么？“走吧。”他说", ["下雨了。", "我们留下！", "为什么？", "“走吧。”", "他说"]),
        ("雨です。「帰れ！」と言った.そう", ["雨です。", "「帰れ！」", "と言った.", "そう"]),
        ("मैं आया। तुम गए॥ वह", ["मैं आया।", "तुम गए॥", "वह"]),
        ("هل جئت؟ نعم۔ حسنا.", ["هل جئت؟", "نعم۔", "حسنا."]),
        ("Եկա։ Գնա։", ["Եկա։", "Գնա։"]),
        ("መጣሁ። ሂድ።", ["መጣሁ።", "ሂድ።"]),
        ("Go. ... - ! Stay", ["Go. ... - !", "Stay"]),
        ("no full stop at all", ["no full stop at all"]),
        ("?!", ["?!"]),
        ("", [""]),
        (" \n ", [""]),
    ],
)
def test_sentences_end_where_their_script_ends_them(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@given(st.text(max_size=400) | st.text(". \n!a。\"')", max_size=1500) | st.text("ab ", min_size=301, max_size=2000))
def test_every_character_but_white_space_is_in_a_sentence_of_bounded_length(text: str) -> None:
    spans = sentences(text)
    assert spans == sorted(spans) and spans
    assert all(0 <= start <= end <= len(text) and end - start <= LONGEST_SENTENCE for start, end in spans)
    covered = {place for start, end in spans for place in range(start, end)}
    assert not "".join(letter for place, letter in enumerate(text) if place not in covered).strip()


@pytest.mark.parametrize("word", ["mill ", "磨", "x"])
def test_a_text_without_full_stops_is_read_in_windows_that_overlap(word: str) -> None:
    text = word * 800
    spans = sentences(text)
    assert len(spans) > 2
    assert all(later[0] <= earlier[1] - LONGEST_SENTENCE // 4 for earlier, later in pairwise(spans))
    if word.endswith(" "):
        assert {part for piece in found(text) for part in piece.split(" ")} == {"mill"}  # cut between words


@pytest.mark.parametrize("text", ["." * 200_000 + "x", ".)" * 100_000, "!" * 200_000, "a.\n" * 66_000, "\n" * 200_000])
def test_a_long_text_of_full_stops_takes_no_longer_than_others(text: str) -> None:
    begun = time.process_time()
    sentences(text)
    assert time.process_time() - begun < 2


def test_a_rude_sentence_scores_the_same_alone_and_among_harmless_ones(demo: Classifier) -> None:
    company = " ".join([CALM] * 6 + [RUDE] + [CALM] * 6)
    diluted, alone = demo.score([company, RUDE])
    assert diluted["toxicity"] < alone["toxicity"]  # what is mended here
    (judged,) = judge([company], ScoreBy.SENTENCE, demo.score)
    assert judged.scores["toxicity"] == alone["toxicity"]
    assert judged.deciding is not None and set(judged.deciding) == set(judged.scores)
    assert cut(company, [judged.deciding["toxicity"]]) == [RUDE]
    (whole,) = judge([company], ScoreBy.WINDOW, demo.score)
    assert whole.scores == diluted and whole.deciding is None


def test_a_text_without_a_sentence_is_scored_as_an_empty_one(demo: Classifier) -> None:
    (judged,) = judge([" \n"], ScoreBy.SENTENCE, demo.score)
    assert judged.scores == demo.score([""])[0]
    assert judge([], ScoreBy.SENTENCE, demo.score) == []


def test_pieces_that_are_alike_are_scored_once_and_the_first_of_equal_ones_decides() -> None:
    seen: list[str] = []

    def score(pieces: list[str]) -> list[dict[str, float]]:
        seen.extend(pieces)
        return [{"toxicity": 0.5} for _ in pieces]

    one, two = judge(["Go. Go. Stay.", "Go."], ScoreBy.SENTENCE, score)
    assert seen == ["Go.", "Stay."]
    assert one.deciding == two.deciding == {"toxicity": (0, 3)}
    assert score_pieces([["Go."], []], score)[1] == []


def test_leaving_out_a_word_joins_no_sentences() -> None:
    text = "It rains. Go away."
    spans = pieces_of(text, ScoreBy.SENTENCE)
    rains = (3, 9)
    assert [without(text, rains, piece) for piece in spans] == ["It ", "Go away."]
    assert [without(text, (3, 12), piece) for piece in spans] == ["It ", " away."]
