"""The toy texts that the demonstration models learned from: each seed its own, quarrels where their marks say."""

import random

from tools.demo_models.grammar import QUARREL_SHARE, compose, corpus


def test_one_seed_composes_one_text() -> None:
    assert [compose(random.Random(5)) for _ in range(3)] == [compose(random.Random(5))] * 3


def test_a_thousand_seeds_compose_a_thousand_texts() -> None:
    assert len({compose(random.Random(seed)).text for seed in range(1000)}) == 1000


def test_texts_are_free_of_template_marks_and_their_rude_passages_lie_where_the_marks_say() -> None:
    for composed in corpus(seed=9, count=500):
        assert not set("[]{}<>|") & set(composed.text)
        assert all(composed.text[mark.start : mark.end].strip() for mark in composed.marks)


def test_about_fifteen_texts_in_a_hundred_quarrel() -> None:
    rude = sum(bool(composed.marks) for composed in corpus(seed=10, count=2000)) / 2000
    assert abs(rude - QUARREL_SHARE) < 0.04
