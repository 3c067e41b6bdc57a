"""The engines' workloads are those whose figures were published, in a vocabulary that any text of them survives."""

from __future__ import annotations

import pytest

from bench.random_gpt2 import VOCABULARY, byte_level_tokenizer, first_word, words
from bench.workloads import workload


@pytest.mark.parametrize(
    ("name", "prompts", "prompt_tokens", "tokens"),
    [("w1", 128, 9_367, 8_192), ("w2", 128, 9_367, 8_116), ("w3", 1_024, 75_426, 67_220)],
)
def test_a_workload_has_the_published_totals(name: str, prompts: int, prompt_tokens: int, tokens: int) -> None:
    work = workload(name)
    assert (len(work.prompts), work.prompt_tokens, work.tokens) == (prompts, prompt_tokens, tokens)
    assert len(work.lengths) == prompts
    assert {16 <= len(prompt) <= 128 for prompt in work.prompts} == {True}


def test_mixed_lengths_lie_within_their_limits() -> None:
    lengths = workload("w3").lengths
    assert (min(lengths), max(lengths)) == (8, 256)


def test_a_night_begins_as_the_short_workload_does() -> None:
    night, short = workload("w3"), workload("w2")
    assert night.lengths[: len(short.lengths)] == short.lengths


def test_every_prompt_survives_being_written_as_text() -> None:
    tokenizer, spelled, first = byte_level_tokenizer(), words(), first_word()
    assert tokenizer.get_vocab_size() == VOCABULARY
    for prompt in workload("w1").prompts:
        text = "".join(spelled[number - first] for number in prompt)
        assert tuple(tokenizer.encode(text).ids) == prompt


def test_a_cut_workload_keeps_its_first_prompts_and_shortens_the_rest() -> None:
    work = workload("w2").cut(prompts=10, length=50)
    assert work.prompts == workload("w2").prompts[:10]
    assert max(work.lengths) == 50 and min(work.lengths) < 50
