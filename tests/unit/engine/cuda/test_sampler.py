"""The device's sampler against the CPU's, on the same logits: one rule, two writings of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import settings

from tests.unit.engine.sampling.test_sampler import edited_row, kept_weights
from worker.engine.cuda import sampler as sampler_cuda
from worker.engine.forward import Logits
from worker.engine.sampling import sampler, truncation
from worker.engine.sampling.bad_words import BadWords
from worker.engine.sampling.philox import uniform
from worker.engine.sampling.sampler import Choice
from worker.engine.sampling.state import SamplingState, TokenRules
from worker.engine.text.pieces import Pieces

LETTERS = Pieces({token: bytes([ord("a") + token]) for token in range(30)})
ROWS = 64  # drawn at once
CLOSE = 1e-6  # of a random number to an edge between two tokens, where float32 sums may fall on either side


def padded(logits: torch.Tensor) -> torch.Tensor:
    """As the model gives them: rows and columns filled up."""
    rows, vocabulary = logits.shape
    filled = torch.zeros(-(-rows // ROWS) * ROWS, truncation.round_up_to_group(vocabulary))
    filled[:rows, :vocabulary] = logits
    filled[:, vocabulary:] = -torch.inf
    return filled


def on_device(logits: torch.Tensor, states: list[SamplingState]) -> list[Choice | Exception]:
    return sampler_cuda.sample(padded(logits), logits.shape[1], states, ROWS)


def on_cpu(logits: torch.Tensor, states: list[SamplingState]) -> list[Choice | Exception]:
    return sampler.sample(Logits(logits.contiguous(), np.zeros(len(logits), np.float32)), states)


def random_state(chance: np.random.Generator, vocabulary: int) -> SamplingState:
    """Half of all settings are off in a row, so that each is also seen alone."""

    def maybe(*values: Any, off: Any) -> Any:
        return values[chance.integers(len(values))] if chance.uniform() < 0.5 else off

    biased = chance.choice(vocabulary, 4, replace=False).tolist()
    own = settings(
        max_new_tokens=60,
        temperature=maybe(0.3, 0.9, 1.7, 1e-5, off=1.0),
        do_sample=chance.uniform() < 0.9,
        top_k=int(maybe(1, 3, 50, 700, 10**6, off=0)),
        top_p=maybe(0.05, 0.5, 0.9, 0.999, off=1.0),
        min_p=maybe(0.01, 0.2, 1.0, off=0.0),
        repetition_penalty=maybe(0.5, 1.3, off=1.0),
        presence_penalty=maybe(-1.5, 0.7, off=0.0),
        frequency_penalty=maybe(-0.4, 1.1, off=0.0),
        no_repeat_ngram_size=int(maybe(1, 2, 3, off=0)),
        min_new_tokens=int(maybe(5, 40, off=0)),
        logit_bias=maybe(tuple((token, float(chance.normal() * 3)) for token in biased), off=()),
        logprobs=int(maybe(1, 3, 5, off=0)),
    )
    words = BadWords(maybe(["d", "bc", "abf"], ["hhh"], off=[]), LETTERS, whole=False)
    rules = TokenRules(words, own.logit_bias, eos=[4])
    state = SamplingState(own, int(chance.integers(2**53)), chance.integers(0, 12, 5).tolist(), rules)
    for token in chance.integers(0, 12, chance.integers(0, 40)).tolist():
        state.append(token)
    return state


def distance_to_an_edge(logits: torch.Tensor, state: SamplingState) -> float:
    """How far the row's random number lies from the nearest edge between two tokens that the CPU keeps."""
    mass = np.cumsum([*kept_weights(edited_row(logits, state), state).values()])
    number = uniform([state.seed], [state.step])[0]
    return float(np.abs(mass / mass[-1] - number).min())


def same(ours: Choice | Exception, theirs: Choice | Exception) -> bool:
    if isinstance(theirs, Exception):
        return type(ours) is type(theirs) and str(ours) == str(theirs)
    return (
        isinstance(ours, Choice)
        and ours.token == theirs.token
        and ours.logprob == pytest.approx(theirs.logprob, abs=1e-5)
        and [token for token, _ in ours.top] == [token for token, _ in theirs.top]
        and [each for _, each in ours.top] == pytest.approx([each for _, each in theirs.top], abs=1e-5)
    )


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("vocabulary", [40, 400, 2000])
def test_thousands_of_rows_of_mixed_settings_draw_what_the_cpu_draws(vocabulary: int, ties: bool) -> None:
    chance = np.random.default_rng(vocabulary)
    for _ in range(8):
        states = [random_state(chance, vocabulary) for _ in range(ROWS)]
        logits = torch.from_numpy(chance.normal(size=(ROWS, vocabulary)).astype(np.float32) * 3 - 2)
        logits = (logits * 2).round() / 2 + 0.0 if ties else logits
        pairs = list(zip(on_device(logits, states), on_cpu(logits, states), strict=True))
        for row, (ours, theirs) in enumerate(pairs):
            assert same(ours, theirs) or distance_to_an_edge(logits[row], states[row]) < CLOSE, (row, ours, theirs)


def test_a_row_draws_to_the_bit_what_it_draws_alone() -> None:
    chance = np.random.default_rng(1)
    states = [random_state(chance, 700) for _ in range(ROWS)]
    logits = torch.from_numpy(chance.normal(size=(ROWS, 700)).astype(np.float32) * 3)
    together = on_device(logits, states)
    backwards = on_device(logits.flip(0), states[::-1])[::-1]
    for row in range(0, ROWS, 7):
        (alone,) = on_device(logits[row : row + 1], [states[row]])
        assert together[row] == backwards[row] == alone


def test_more_rows_than_a_block_are_drawn_in_several() -> None:
    chance = np.random.default_rng(2)
    states = [random_state(chance, 100) for _ in range(2 * ROWS + 3)]
    logits = torch.from_numpy(chance.normal(size=(len(states), 100)).astype(np.float32))
    together = on_device(logits, states)
    assert together == [
        choice
        for start in range(0, len(states), 100)
        for choice in on_device(logits[start : start + 100], states[start : start + 100])
    ]


def test_errors_are_those_of_the_cpu_and_leave_the_other_rows_alone() -> None:
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(6, 30)).astype(np.float32))
    logits[1, 5], logits[2, 7], logits[4] = torch.nan, torch.inf, -torch.inf
    everything = TokenRules(BadWords(bytes(range(97, 127)).decode(), LETTERS))
    states = [
        SamplingState(settings(top_p=0.9), 0, [1]),
        SamplingState(settings(top_p=0.9), 1, [1]),
        SamplingState(settings(do_sample=False), 2, [1]),
        SamplingState(settings(), 3, [1], everything),
        SamplingState(settings(), 4, [1], everything),
        SamplingState(settings(repetition_penalty=2.0), 5, [1, 30]),
    ]
    ours, theirs = on_device(logits, states), on_cpu(logits, states)
    assert [type(error).__name__ for error in theirs] == ["Choice", *["ValueError"] * 4, "IndexError"]
    assert all(same(*pair) for pair in zip(ours, theirs, strict=True)), ours


def test_a_large_vocabulary_with_ties_at_every_edge_is_drawn_as_on_the_cpu() -> None:
    """The CPU's float32 sums over 50,257 tokens are a little further off than over few."""
    logits = (torch.randn(16, 50_257, generator=torch.Generator().manual_seed(0)) * 4).round() / 4 + 0.0
    kinds = [{"top_k": 50, "top_p": 0.95}, {"top_k": 0, "top_p": 0.9}, {"top_k": 200}, {"top_k": 0, "min_p": 0.1}]
    states = [SamplingState(settings(**kinds[row % 4]), row, [1]) for row in range(16)]
    for row, (ours, theirs) in enumerate(zip(on_device(logits, states), on_cpu(logits, states), strict=True)):
        assert same(ours, theirs) or distance_to_an_edge(logits[row], states[row]) < 10 * CLOSE, (row, ours, theirs)
