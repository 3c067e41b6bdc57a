"""Filters, penalties and draws: each against transformers' own, or the written formula, on random logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import settings
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from worker.engine.forward import Logits
from worker.engine.sampling import penalties, sampler, truncation
from worker.engine.sampling.bad_words import BadWords
from worker.engine.sampling.penalties import edited, edits_of
from worker.engine.sampling.philox import uniform
from worker.engine.sampling.sampler import Choice, sample
from worker.engine.sampling.state import RECORD, SamplingState, TokenRules
from worker.engine.text.pieces import Pieces

CASES = 200
VOCABULARY = 301
LETTERS = Pieces({token: bytes([ord("a") + token]) for token in range(26)})
"""What the first tokens write."""


def random_logits(case: int, vocabulary: int = VOCABULARY, ties: bool = False) -> torch.Tensor:
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(case)) * (0.5 + case % 7)
    return (logits * 2).round() / 2 if ties else logits  # [1, vocabulary]


def random_context(case: int, length: int = 12, kinds: int = 6) -> list[int]:
    return np.random.default_rng(case).integers(0, kinds, length).tolist()


def processed(logits: torch.Tensor, context: list[int], prompt: int, **values: Any) -> np.ndarray:
    own = settings(max_new_tokens=64, **values)
    rules = TokenRules(BadWords(own.bad_words, LETTERS, whole=False), own.logit_bias, eos=[0])
    state = SamplingState(own, 0, context[:prompt], rules)
    for token in context[prompt:]:
        state.append(token)
    return edited_row(logits[0], state)


def edited_row(row: torch.Tensor, state: SamplingState) -> np.ndarray:
    """One row's logits [vocabulary] with bias, bans and penalties."""
    edits, _, _ = edits_of([state], np.array([state.record], RECORD), len(row))
    logits = row.clone().numpy()
    penalties.edit_row(logits, edits, len(edits.tokens))
    return logits


def kept_tokens(logits: torch.Tensor, **values: Any) -> set[int]:
    """Every token that a row can draw."""
    return set(kept_weights(logits[0].numpy(), SamplingState(settings(**values), 0, [1])))


def kept_weights(row: np.ndarray, state: SamplingState) -> dict[int, float]:
    """The weight of every token that logits [vocabulary], once they are edited, leave to be drawn; by id."""
    scratch = sampler.new_scratch(len(row))
    scratch.logits.reshape(-1)[: len(row)] = row
    truncation.group_maxima(scratch.logits, scratch.maxima)
    count = sampler.truncate(np.array([state.record], RECORD)[0], scratch)
    tokens = scratch.tokens if count < scratch.logits.size else np.arange(count)
    return {int(tokens[i]): float(scratch.weights[i]) for i in range(count) if scratch.weights[i] > 0}


def sampled(logits: torch.Tensor, states: list[SamplingState]) -> list[Choice | Exception]:
    return sample(Logits(logits, np.zeros(len(logits), np.float32)), states)


def reference_kept(logits: torch.Tensor, *warpers: Any) -> set[int]:
    ids = torch.zeros(1, 1, dtype=torch.long)
    scores = logits.clone()
    for warper in warpers:
        scores = warper(ids, scores)
    return set(torch.nonzero(scores[0] > -torch.inf).flatten().tolist())


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    for case in range(CASES):
        logits, context = random_logits(case), random_context(case, kinds=40)
        ours = processed(logits, context, prompt=5, repetition_penalty=penalty)
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([context]), logits.clone())
        np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_ngram_ban_is_that_of_transformers(size: int) -> None:
    for case in range(CASES):
        logits, context = random_logits(case), random_context(case, length=1 + case % 20, kinds=3)
        ours = processed(logits, context, prompt=1, no_repeat_ngram_size=size)
        theirs = NoRepeatNGramLogitsProcessor(size)(torch.tensor([context]), logits.clone())
        np.testing.assert_array_equal(ours, theirs[0].numpy())


def test_tokens_that_would_write_a_bad_word_are_banned_and_no_others() -> None:
    logits = random_logits(1)
    ours = processed(logits, [0, 2, 1, 2], prompt=2, bad_words=("bcd", "z", "ab"))
    assert np.flatnonzero(ours != logits[0].numpy()).tolist() == [3, 25]
    assert (ours[[3, 25]] == -np.inf).all()


@pytest.mark.parametrize("written", [0, 3, 4, 5])
def test_the_end_of_text_is_banned_before_min_new_tokens_as_in_transformers(written: int) -> None:
    logits, context = random_logits(written), random_context(written, length=2 + written)
    ours = processed(logits, context, prompt=2, min_new_tokens=4)
    theirs = MinNewTokensLengthLogitsProcessor(2, 4, [0], device="cpu")(torch.tensor([context]), logits.clone())
    np.testing.assert_array_equal(ours, theirs[0].numpy())
    assert (ours[0] == -np.inf) == (written < 4)


@pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0), (0, 0.7), (-2, 2), (0.3, -0.4)])
def test_presence_and_frequency_penalties_follow_openais_formula_over_the_text_only(
    presence: float, frequency: float
) -> None:
    for case in range(CASES):
        logits, context = random_logits(case), random_context(case, kinds=8)
        ours = processed(logits, context, prompt=5, presence_penalty=presence, frequency_penalty=frequency)
        expected = logits[0].numpy().copy()
        for token in range(VOCABULARY):
            count = context[5:].count(token)
            expected[token] -= count * frequency + (count > 0) * presence
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_logit_bias_is_added_to_its_tokens() -> None:
    logits = random_logits(1)
    ours = processed(logits, [1], prompt=1, logit_bias=((3, 2.5), (300, -100.0)))
    difference = ours - logits[0].numpy()
    assert difference[3] == pytest.approx(2.5)
    assert difference[300] == pytest.approx(-100, rel=1e-5)
    assert np.count_nonzero(difference) == 2


def test_bias_and_bans_come_before_penalties() -> None:
    logits = torch.full((1, VOCABULARY), 1.0)
    ours = processed(logits, [7, 7], prompt=1, logit_bias=((7, 3.0),), repetition_penalty=2.0, presence_penalty=0.5)
    assert ours[7] == pytest.approx((1 + 3) / 2 - 0.5)


def test_tensors_are_edited_to_the_bits_that_the_compiled_loop_gives() -> None:
    for case in range(CASES):
        logits, context = random_logits(case) - case % 3, random_context(case, length=40, kinds=20)
        own = settings(
            repetition_penalty=(1.0, 0.7, 1.3)[case % 3],
            presence_penalty=(0.0, 0.3)[case % 2],
            frequency_penalty=(0.0, -0.7, 1.1, 0.1)[case % 4],
            no_repeat_ngram_size=case % 5,
            logit_bias=((3, 0.1), (300, -7.3)),
        )
        state = SamplingState(own, 0, context, TokenRules(BadWords("e", LETTERS, whole=False), own.logit_bias))
        for token in context[::-1][:20]:
            state.append(token)
        edits, _, _ = edits_of([state], np.array([state.record], RECORD), VOCABULARY)
        tokens, *changes = edits
        on_tensors = edited(logits[0, tokens], torch.from_numpy(np.stack(changes)))
        assert on_tensors.numpy().tobytes() == edited_row(logits[0], state)[tokens].tobytes()
        assert sorted(set(tokens.tolist())) == sorted({*state.context_for_penalties.tolist(), 3, 4, 300})


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 5, 50, 300, 5000])
def test_top_k_keeps_what_transformers_keeps_ties_included(top_k: int, ties: bool) -> None:
    for case in range(0, CASES, 25):
        logits = random_logits(case % 3, ties=ties) / 4
        assert kept_tokens(logits, top_k=top_k) == reference_kept(logits, TopKLogitsWarper(top_k)), case


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.99])
def test_top_p_keeps_what_transformers_keeps(top_p: float) -> None:
    for case in range(0, CASES, 20):
        logits = random_logits(case, vocabulary=60)
        assert kept_tokens(logits, top_k=0, top_p=top_p) == reference_kept(logits, TopPLogitsWarper(top_p)), case


@pytest.mark.parametrize("min_p", [0.01, 0.2, 0.7, 1.0])
def test_min_p_keeps_what_transformers_keeps(min_p: float) -> None:
    for case in range(0, CASES, 20):
        logits = random_logits(case, vocabulary=60)
        assert kept_tokens(logits, top_k=0, min_p=min_p) == reference_kept(logits, MinPLogitsWarper(min_p)), case


def test_all_filters_together_keep_what_transformers_keeps_in_the_contracts_order() -> None:
    random = np.random.default_rng(0)
    for case in range(CASES):
        logits = random_logits(case, vocabulary=40)
        temperature, top_k = float(random.uniform(0.3, 2)), int(random.integers(1, 40))
        top_p, min_p = float(random.uniform(0.2, 1)), float(random.uniform(0, 0.3))
        warpers = (
            TemperatureLogitsWarper(temperature),
            TopKLogitsWarper(top_k),
            TopPLogitsWarper(top_p),
            MinPLogitsWarper(min_p),
        )
        ours = kept_tokens(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        assert ours == reference_kept(logits, *warpers), case


def drawn(logits: torch.Tensor, count: int, **values: Any) -> np.ndarray:
    """How often each token comes in `count` draws of different seeds."""
    states = [SamplingState(settings(**values), seed, [1]) for seed in range(count)]
    choices = sampled(logits.repeat(count, 1), states)
    tokens = [choice.token for choice in choices if isinstance(choice, Choice)]
    return np.bincount(tokens, minlength=logits.shape[1])


@pytest.mark.parametrize(
    "values",
    [
        {"top_k": 0},
        {"top_k": 20},
        {"top_k": 0, "top_p": 0.8, "temperature": 1.4},
        {"top_k": 30, "top_p": 0.9, "min_p": 0.02, "temperature": 0.7},
    ],
)
def test_sampled_frequencies_fit_the_probabilities(values: dict[str, Any]) -> None:
    count, logits = 20_000, random_logits(2, vocabulary=60) / 2
    scores, ids = logits.clone() / values.get("temperature", 1.0), torch.zeros(1, 1, dtype=torch.long)
    if values["top_k"]:
        scores = TopKLogitsWarper(values["top_k"])(ids, scores)
    if "top_p" in values:
        scores = TopPLogitsWarper(values["top_p"])(ids, scores)
    if "min_p" in values:
        scores = MinPLogitsWarper(values["min_p"])(ids, scores)
    expected = torch.softmax(scores.double(), dim=-1)[0].numpy() * count
    observed = drawn(logits, count, **values)
    assert observed[expected == 0].sum() == 0
    large = expected >= 5
    chi_square = ((observed[large] - expected[large]) ** 2 / expected[large]).sum()
    freedom = int(large.sum()) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5 + 5


@pytest.mark.parametrize("values", [{"do_sample": False}, {"temperature": 0.0}])
def test_greedy_takes_the_first_of_the_largest(values: dict[str, Any]) -> None:
    logits = torch.zeros(1, VOCABULARY)
    logits[0, [17, 40]] = 3.0
    assert drawn(logits, 5, **values).nonzero()[0].tolist() == [17]


@pytest.mark.parametrize("temperature", [1e-300, 1e-5, 100.0])
def test_extreme_temperatures_still_draw_a_token(temperature: float) -> None:
    logits = random_logits(3) * 50
    counts = drawn(logits, 20, temperature=temperature)
    assert counts.sum() == 20
    if temperature < 1:
        assert counts[int(logits.argmax())] == 20


def test_a_nucleus_is_that_of_a_full_sort_in_a_large_vocabulary() -> None:
    """Ties at its edge are kept by id until the sum is reached."""
    for case in range(60):
        logits = random_logits(case, vocabulary=20_000, ties=case % 2 == 0) / (1 + case % 3)
        top_p = (0.05, 0.5, 0.9, 0.999)[case % 4]
        row = logits[0].double().numpy()
        order = np.lexsort((np.arange(len(row)), -row))
        mass = np.cumsum(np.exp(row[order] - row.max()))
        kept = kept_tokens(logits, top_k=0, top_p=top_p)
        exact = 1 + int(np.searchsorted(mass, top_p * mass[-1]))
        # float32 sums: what lies within a hundred-thousandth of the edge may fall on either side
        low, high = np.searchsorted(mass, [(top_p - 1e-5) * mass[-1], min(1, top_p + 1e-5) * mass[-1]])
        assert int(low) <= len(kept) <= int(high) + 1, (case, exact)
        assert kept == set(order[: len(kept)].tolist()), case


@pytest.mark.parametrize("vocabulary", [1, 2, 63, 64, 65, 1000, 50_257])
def test_the_draw_follows_the_cumulative_probability_by_id(vocabulary: int) -> None:
    logits = random_logits(vocabulary, vocabulary=vocabulary)
    seeds = range(300)
    choices = sampled(logits.repeat(300, 1), [SamplingState(settings(top_k=0), seed, [0]) for seed in seeds])
    mass = np.cumsum(torch.softmax(logits[0].double(), dim=-1).numpy())
    numbers = uniform(list(seeds), [0] * 300)
    for choice, number in zip(choices, numbers, strict=True):
        assert isinstance(choice, Choice)
        before = mass[choice.token - 1] if choice.token else 0
        assert before - 1e-5 <= number <= mass[choice.token] + 1e-5


def test_offsets_are_part_of_the_logits() -> None:
    """They matter to the repetition penalty alone, which treats negative logits otherwise."""
    logits = torch.tensor([[1.0, 2.0, 3.0, 2.5]])
    state = SamplingState(settings(do_sample=False, repetition_penalty=2.0), 0, [2])
    high, low = (Logits(logits, np.array([offset], np.float32)) for offset in (0.0, -3.2))
    (first,), (second,) = sample(high, [state]), sample(low, [state])
    assert isinstance(first, Choice)
    assert isinstance(second, Choice)
    assert (first.token, second.token) == (3, 2)


def test_bfloat16_logits_are_read_as_they_are() -> None:
    logits = torch.cat([random_logits(case) for case in range(30)]).bfloat16()
    states = [SamplingState(settings(top_k=case % 3 * 20, logprobs=2), case, [1]) for case in range(30)]
    offsets = np.linspace(-90, 5, 30).astype(np.float32)
    halves = sample(Logits(logits, offsets), states)
    assert halves == sample(Logits(logits.float(), offsets), states)


def test_a_large_vocabulary_with_ties_everywhere_is_drawn_right() -> None:
    """bfloat16-like logits tie far past the first head; every tied token must be reachable under top_k."""
    logits = torch.zeros(1, 6000)
    counts = drawn(logits, 3000, top_k=50)
    assert counts.sum() == 3000
    assert np.count_nonzero(counts) > 2000


def test_rows_of_mixed_settings_draw_what_each_draws_alone() -> None:
    random = np.random.default_rng(5)
    rows = torch.cat([random_logits(case, vocabulary=2000, ties=case % 3 == 0) for case in range(40)])
    own = [
        settings(
            top_k=int(random.choice([0, 1, 40, 700])),
            top_p=float(random.choice([1.0, 0.9])),
            do_sample=bool(random.uniform() < 0.8),
            logprobs=case % 4,
        )
        for case in range(40)
    ]
    together = sampled(rows.clone(), [SamplingState(each, seed, [1]) for seed, each in enumerate(own)])
    for case, each in enumerate(own):
        (alone,) = sampled(rows[case : case + 1].clone(), [SamplingState(each, case, [1])])
        assert together[case] == alone


def test_one_rows_error_leaves_the_other_rows_alone() -> None:
    rows = torch.cat([random_logits(case) for case in range(3)])
    rows[1, 5] = torch.nan
    states = [SamplingState(settings(), seed, [1]) for seed in range(3)]
    first, second, third = sampled(rows, states)
    assert isinstance(first, Choice)
    assert isinstance(second, ValueError)
    assert "not finite" in str(second)
    assert isinstance(third, Choice)


def test_settings_that_ban_every_token_are_an_error_of_the_row() -> None:
    state = SamplingState(settings(), 0, [1], TokenRules(BadWords("abcdefghij", LETTERS)))
    (error,) = sampled(torch.zeros(1, 10), [state])
    assert isinstance(error, ValueError)
    assert "ban every token" in str(error)


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = random_logits(9)
    expected = torch.log_softmax(logits[0], dim=-1)
    state = SamplingState(settings(logprobs=4, temperature=0.5, top_k=2, logit_bias=((3, 50.0),)), 0, [1])
    (choice,) = sampled(logits.clone(), [state])
    assert isinstance(choice, Choice)
    assert choice.token == 3
    assert choice.logprob == pytest.approx(float(expected[3]), rel=1e-6)
    values, tokens = torch.topk(expected, 4)
    assert [token for token, _ in choice.top] == tokens.tolist()
    assert [logprob for _, logprob in choice.top] == pytest.approx(values.tolist())
