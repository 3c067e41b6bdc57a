"""From logits to tokens: each row by its own settings, its own seed, and nothing of its neighbours.

What rows share is only that several threads take them in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from worker.engine.compiled.compiling import called, each_thread, threaded
from worker.engine.compiled.float_bits import as_array, float_of_rank, widen
from worker.engine.forward import Logits
from worker.engine.sampling.penalties import BANNED, ban, ban_repeated_ngrams, penalise_presence, penalise_repetition
from worker.engine.sampling.philox import uniform
from worker.engine.sampling.state import RECORD, SamplingState
from worker.engine.sampling.truncation import (
    GROUP,
    STEEPEST,
    drop_below,
    drop_beyond_nucleus,
    first_of_the_largest,
    group_maxima,
    likeliest,
    pick,
    select_top_k,
    total_weight,
    weigh,
    whole_groups,
)

NOT_FINITE, ALL_BANNED, NO_SUCH_TOKEN = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Choice:
    """One row's next token."""

    token: int
    logprob: float  # under the raw logits: before bias, bans, penalties and temperature
    top: tuple[tuple[int, float], ...]  # the likeliest tokens under the raw logits, where asked for


def sample(logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Draw the next token of every row.

    Args:
        logits: raw, on the CPU.
        states: one for each row.

    Returns:
        For each row its choice, or the error that belongs to that row alone.

    Order: bias and bans, penalties, temperature, top_k, top_p, min_p. Where u is uniform from the counter
    (seed, step), the token is the first one, by id, at which the cumulative probability of the kept tokens
    exceeds u. Greedy: the first token of the largest logit.
    """
    rows, alternatives = len(states), max(state.settings.logprobs for state in states)
    tokens, logprobs = np.empty(rows, np.int64), np.empty(rows, np.float64)
    best = np.zeros((rows, alternatives), np.int32)
    best_logprobs = np.zeros((rows, alternatives), np.float64)
    sample_rows(
        as_array(logits.values),
        logits.offsets,
        np.ones(rows, np.float32) if logits.scales is None else logits.scales,
        np.array([state.record for state in states], RECORD),
        np.array([state.step for state in states]),
        uniform([state.seed for state in states], [state.step for state in states]),
        *_joined([state.context_for_penalties for state in states]),
        *_joined([state.eos for state in states]),
        *_joined([state.banned for state in states]),
        *_joined([state.biased for state in states]),
        np.concatenate([state.biases for state in states]),
        torch.get_num_threads(),
        tokens,
        logprobs,
        best,
        best_logprobs,
    )
    pairs = zip(tokens.tolist(), logprobs.tolist(), strict=True)
    return [
        _error(token, state)
        if token < 0
        else Choice(token, logprob, _top(best[row], best_logprobs[row], state.settings.logprobs))
        for row, ((token, logprob), state) in enumerate(zip(pairs, states, strict=True))
    ]


def _joined(arrays: Sequence[npt.NDArray[np.int32]]) -> tuple[Any, Any]:
    """Arrays one after the other, and [arrays + 1], where each starts and the last ends."""
    return np.concatenate(arrays), np.cumsum([0, *map(len, arrays)])


def _top(tokens: Any, logprobs: Any, count: int) -> tuple[tuple[int, float], ...]:
    return tuple(zip(tokens[:count].tolist(), logprobs[:count].tolist(), strict=True)) if count else ()


def _error(code: int, state: SamplingState) -> Exception:
    at = f"at token {state.step + 1}"
    if code == NOT_FINITE:
        return ValueError(f"the model's logits are not finite numbers {at}")
    if code == ALL_BANNED:
        return ValueError(f"the settings ban every token there is {at}")
    return IndexError(f"the settings or the prompt have a token id that the model's vocabulary lacks, {at}")


@called
def process(
    logits: Any,
    own: Any,
    step: int,
    context: Any,
    eos: Any,
    banned: Any,
    biased: Any,
    biases: Any,
    counts: Any,
) -> bool:
    """Change one row's raw logits, in place: bias and bans, then penalties. Returns whether anything was changed."""
    for i in range(len(biased)):
        logits[biased[i]] += biases[i]
    ban(logits, banned)
    ending = step < own.min_new_tokens
    if ending:
        ban(logits, eos)
    if own.no_repeat_ngram_size:
        ban_repeated_ngrams(logits, context, own.no_repeat_ngram_size)
    if own.repetition_penalty != np.float32(1):
        penalise_repetition(logits, context, own.repetition_penalty, counts)
    if own.presence_penalty != 0 or own.frequency_penalty != 0:
        text = context[own.prompt_tokens :]
        penalise_presence(logits, text, own.presence_penalty, own.frequency_penalty, counts)
    return len(biased) > 0 or len(context) > 0 or ending


@called
def keep(logits: Any, maxima: Any, own: Any, weights: Any, tokens: Any) -> int:
    """Which tokens of a row may come: top_k, top_p and min_p, in this order.

    Args:
        logits: [groups, GROUP], processed; maxima: [groups].
        weights, tokens: [groups * GROUP]: where the kept tokens' weights and ids go; 0 is the weight of one that
            fell out after all. Without a top_k all are weighed, by id, and no ids are written.

    Returns:
        How many weights there are.
    """
    flat = logits.reshape(-1)
    count, largest = len(flat), float_of_rank(maxima.max())
    steepness = np.float32(min(1 / own.temperature, STEEPEST))
    if 0 < own.top_k < len(flat):
        count = select_top_k(logits, maxima, own.top_k, tokens)
        weigh(flat[tokens[:count]], largest, steepness, weights[:count])
    else:
        weigh(flat, largest, steepness, weights)
    if own.top_p < 1:
        drop_beyond_nucleus(weights[:count], own.top_p)
    if own.min_p > 0:
        drop_below(weights[:count], np.float32(own.min_p))
    return count


@called
def choose(logits: Any, maxima: Any, own: Any, number: float, weights: Any, tokens: Any) -> int:
    """One row's token; the arguments are those of `keep`, and number is uniform in [0, 1)."""
    if own.greedy:
        return first_of_the_largest(logits, maxima)
    count = keep(logits, maxima, own, weights, tokens)
    grouped = whole_groups(count)
    weights[count:grouped] = 0
    place = pick(weights[:grouped].reshape(-1, GROUP), number)
    return place if count == logits.size else int(tokens[place])


@called
def load(values: Any, scale: Any, offset: Any, logits: Any) -> None:
    for i in range(len(values)):
        logits[i] = widen(values[i]) * scale + offset


@called
def all_known(tokens: Any, vocabulary: int) -> bool:
    known = True
    for token in tokens:
        known = known and 0 <= token < vocabulary
    return known


@threaded
def sample_rows(
    values: Any,
    offsets: Any,
    scales: Any,
    settings: Any,
    steps: Any,
    numbers: Any,
    contexts: Any,
    context_at: Any,
    eos: Any,
    eos_at: Any,
    banned: Any,
    banned_at: Any,
    biased: Any,
    biased_at: Any,
    biases: Any,
    threads: int,
    chosen: Any,
    logprobs: Any,
    best: Any,
    best_logprobs: Any,
) -> None:
    """Every row's token, or an error's code, to `chosen`, and its log probability; see `sample`.

    `x` and `x_at` together are the rows' arrays one after the other, and where each starts.
    """
    rows, vocabulary = values.shape
    for thread in each_thread(threads):
        size = whole_groups(vocabulary)
        flat, weights = np.full(size, BANNED), np.empty(size, np.float32)
        tokens, counts = np.empty(size, np.int32), np.zeros(vocabulary, np.int32)
        logits, maxima = flat.reshape(-1, GROUP), np.empty(size // GROUP, np.int32)
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            own = settings[row]
            context = contexts[context_at[row] : context_at[row + 1]]
            ends = eos[eos_at[row] : eos_at[row + 1]]
            bans = banned[banned_at[row] : banned_at[row + 1]]
            favoured = biased[biased_at[row] : biased_at[row + 1]]
            known = all_known(context, vocabulary) and all_known(ends, vocabulary)
            if not (known and all_known(bans, vocabulary) and all_known(favoured, vocabulary)):
                chosen[row] = NO_SUCH_TOKEN
                continue
            load(values[row], scales[row], offsets[row], flat)
            group_maxima(logits, maxima)
            largest = flat[first_of_the_largest(logits, maxima)]
            total = total_weight(logits, largest)
            if not (np.isfinite(largest) and np.isfinite(total)):
                chosen[row] = NOT_FINITE
                continue
            level = largest + np.log(total)  # the logarithm of the sum of all exponentials
            for i in range(own.logprobs):
                best[row, i] = 0
            if own.logprobs:
                count = min(own.logprobs, vocabulary - 1)
                likeliest(logits, maxima, count, tokens, best[row])
                for i in range(count):
                    best_logprobs[row, i] = flat[best[row, i]] - level
            if process(
                flat,
                own,
                steps[row],
                context,
                ends,
                bans,
                favoured,
                biases[biased_at[row] : biased_at[row + 1]],
                counts,
            ):
                group_maxima(logits, maxima)
                if flat[first_of_the_largest(logits, maxima)] == BANNED:
                    chosen[row] = ALL_BANNED
                    continue
            token = choose(logits, maxima, own, numbers[row], weights, tokens)
            chosen[row] = token
            logprobs[row] = widen(values[row, token]) * scales[row] + offsets[row] - level
