"""From logits to tokens: each row by its own settings, its own seed, and nothing of its neighbours.

What rows share is only that several threads take them in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from contract.spec import SamplingSettings
from worker.engine.compiled.compiling import called, each_thread, threaded
from worker.engine.compiled.float_bits import as_array, float_of_rank, widen
from worker.engine.forward import Logits
from worker.engine.sampling.penalties import BANNED, Edits, edit_row, list_edits
from worker.engine.sampling.philox import uniform
from worker.engine.sampling.state import RECORD, SamplingState
from worker.engine.sampling.token_lists import all_known, row_tokens, token_lists
from worker.engine.sampling.truncation import (
    GROUP,
    STEEPEST,
    drop_below,
    drop_beyond_nucleus,
    first_of_the_largest,
    group_maxima,
    likeliest,
    pick,
    round_up_to_group,
    select_top_k,
    total_weight,
    weigh,
)

NOT_FINITE, ALL_BANNED, NO_SUCH_TOKEN = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Choice:
    """One row's next token."""

    token: int
    logprob: float  # under the raw logits: before bias, bans, penalties and temperature
    top: tuple[tuple[int, float], ...]  # the likeliest tokens under the raw logits, where asked for


class LogitArrays(NamedTuple):
    """`Logits`, as compiled code reads them."""

    values: Any  # [rows, vocabulary], float32, or uint16, which stands for bfloat16
    offsets: Any  # [rows], float32
    scales: Any  # [rows], float32


class Draws(NamedTuple):
    """Where rows' tokens go."""

    tokens: Any  # [rows], int64: the token, or an error's code
    logprobs: Any  # [rows], float64
    top_tokens: Any  # [rows, most that a row asks for], int32
    top_logprobs: Any  # the same, float64


class Scratch(NamedTuple):
    """A thread's room to work in; every row fills it anew."""

    logits: Any  # [groups, GROUP], float32; minus infinity beyond the vocabulary
    maxima: Any  # [groups], int32: the largest rank in each group
    weights: Any  # [groups * GROUP], float32
    tokens: Any  # [groups * GROUP], int32
    places: Any  # [vocabulary], int32, 0; see `list_edits`
    edits: Edits  # [vocabulary]


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
    draws = Draws(
        np.empty(rows, np.int64),
        np.empty(rows, np.float64),
        np.zeros((rows, alternatives), np.int32),
        np.zeros((rows, alternatives), np.float64),
    )
    sample_rows(
        LogitArrays(
            as_array(logits.values),
            logits.offsets,
            np.ones(rows, np.float32) if logits.scales is None else logits.scales,
        ),
        np.array([state.record for state in states], RECORD),
        uniform([state.seed for state in states], [state.step for state in states]),
        token_lists(states),
        torch.get_num_threads(),
        draws,
    )
    return [_choice(draws, row, state) for row, state in enumerate(states)]


def warm_sampling() -> None:
    """Draw a token that nobody asked for, so that no later step waits for code to be loaded."""
    sample(Logits(torch.zeros(1, 2), np.zeros(1, np.float32)), [SamplingState(SamplingSettings(), 0, [0])])


def _choice(draws: Draws, row: int, state: SamplingState) -> Choice | Exception:
    token, count = int(draws.tokens[row]), state.settings.logprobs
    if token < 0:
        return sampling_error(token, state)
    top = zip(draws.top_tokens[row, :count].tolist(), draws.top_logprobs[row, :count].tolist(), strict=True)
    return Choice(token, float(draws.logprobs[row]), tuple(top) if count else ())


def sampling_error(code: int, state: SamplingState) -> Exception:
    at = f"at token {state.step + 1}"
    if code == NOT_FINITE:
        return ValueError(f"the model's logits are not finite numbers {at}")
    if code == ALL_BANNED:
        return ValueError(f"the settings ban every token there is {at}")
    return IndexError(f"the settings or the prompt have a token id that the model's vocabulary lacks, {at}")


@threaded
def sample_rows(logits: Any, settings: Any, numbers: Any, lists: Any, threads: int, draws: Any) -> None:
    """Every row's token; see `sample`.

    Args:
        logits: LogitArrays.
        settings: [rows], of RECORD.
        numbers: [rows], float64, uniform in [0, 1).
        lists: TokenLists.
        threads: how many share the rows.
        draws: Draws, the result.
    """
    rows, vocabulary = logits.values.shape
    for thread in each_thread(threads):
        scratch = new_scratch(vocabulary)
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            # numba drops what this very loop would write to a field of `draws`: it is left to a function.
            draw_row(row, logits, settings[row], numbers[row], row_tokens(lists, row), scratch, draws)


@called
def new_scratch(vocabulary: int) -> Any:
    size = round_up_to_group(vocabulary)
    edits = Edits(
        np.empty(vocabulary, np.int32),
        np.empty(vocabulary, np.float32),
        np.empty(vocabulary, np.float32),
        np.empty(vocabulary, np.float32),
    )
    return Scratch(
        np.full(size, BANNED).reshape(-1, GROUP),
        np.empty(size // GROUP, np.int32),
        np.empty(size, np.float32),
        np.empty(size, np.int32),
        np.zeros(vocabulary, np.int32),
        edits,
    )


@called
def draw_row(row: int, logits: Any, settings: Any, number: float, tokens: Any, scratch: Any, draws: Any) -> None:
    """One row's token, or an error's code, and its log probabilities."""
    if not all_known(tokens, len(scratch.places)):
        draws.tokens[row] = NO_SUCH_TOKEN
        return
    values, scale, offset = logits.values[row], logits.scales[row], logits.offsets[row]
    load(values, scale, offset, scratch.logits.reshape(-1))
    group_maxima(scratch.logits, scratch.maxima)
    largest = largest_logit(scratch)
    total = total_weight(scratch.logits, largest)
    if not (np.isfinite(largest) and np.isfinite(total)):
        draws.tokens[row] = NOT_FINITE
        return
    level = largest + np.log(total)  # the logarithm of the sum of all exponentials
    list_likeliest(settings.logprobs, level, scratch, draws.top_tokens[row], draws.top_logprobs[row])
    if edit(settings, tokens, scratch) and largest_logit(scratch) == BANNED:
        draws.tokens[row] = ALL_BANNED
        return
    token = draw(settings, number, scratch)
    draws.tokens[row] = token
    draws.logprobs[row] = widen(values[token]) * scale + offset - level


@called
def load(values: Any, scale: Any, offset: Any, logits: Any) -> None:
    for i in range(len(values)):
        logits[i] = widen(values[i]) * scale + offset


@called
def largest_logit(scratch: Any) -> Any:
    return scratch.logits.reshape(-1)[first_of_the_largest(scratch.logits, scratch.maxima)]


@called
def list_likeliest(asked: int, level: float, scratch: Any, tokens: Any, logprobs: Any) -> None:
    """The likeliest tokens under the raw logits, and their log probabilities; both [at least as many as asked]."""
    if asked:
        flat, count = scratch.logits.reshape(-1), min(asked, len(scratch.places) - 1)
        likeliest(scratch.logits, scratch.maxima, count, scratch.tokens, tokens)
        for i in range(count):
            logprobs[i] = flat[tokens[i]] - level


@called
def edit(settings: Any, tokens: Any, scratch: Any) -> bool:
    """Bias, bans and penalties, in place. Returns whether there are any."""
    count = list_edits(settings, tokens, scratch.places, scratch.edits)
    if count:
        edit_row(scratch.logits.reshape(-1), scratch.edits, count)
        group_maxima(scratch.logits, scratch.maxima)
    return count > 0


@called
def draw(settings: Any, number: float, scratch: Any) -> int:
    """One row's token, once its logits are edited."""
    if settings.greedy:
        return first_of_the_largest(scratch.logits, scratch.maxima)
    count = truncate(settings, scratch)
    padded = round_up_to_group(count)
    scratch.weights[count:padded] = 0
    place = pick(scratch.weights[:padded].reshape(-1, GROUP), number)
    return place if count == scratch.logits.size else int(scratch.tokens[place])


@called
def truncate(settings: Any, scratch: Any) -> int:
    """Which tokens of a row may be drawn: top_k, top_p and min_p, in this order.

    Their weights and ids go to the scratch; 0 is the weight of one that fell out after all. Without a top_k all tokens
    are weighed, by id, and no ids are written.

    Returns:
        How many weights there are.
    """
    flat, weights, tokens = scratch.logits.reshape(-1), scratch.weights, scratch.tokens
    count, largest = len(flat), float_of_rank(scratch.maxima.max())
    steepness = np.float32(min(1 / settings.temperature, STEEPEST))
    if 0 < settings.top_k < len(flat):
        count = select_top_k(scratch.logits, scratch.maxima, settings.top_k, tokens)
        weigh(flat[tokens[:count]], largest, steepness, weights[:count])
    else:
        weigh(flat, largest, steepness, weights)
    if settings.top_p < 1:
        drop_beyond_nucleus(weights[:count], settings.top_p)
    if settings.min_p > 0:
        drop_below(weights[:count], np.float32(settings.min_p))
    return count
