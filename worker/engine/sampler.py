"""From logits to tokens: each row by its own settings, its own seed, and nothing of its neighbours.

What rows share is only how the work is laid out: every width, and so every rounding, is the row's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from contract.spec import SamplingSettings
from worker.engine.philox import uniform
from worker.engine.processors import Logits
from worker.engine.sampling_state import SamplingState

FIRST_WIDTH = 128  # the fewest tokens sorted at first
OPEN_WIDTH = 1024  # sorted at first where the row's settings set no top_k
WIDENING = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """One row's next token."""

    token: int
    logprob: float  # under the raw logits: before bias, bans, penalties and temperature
    top: tuple[tuple[int, float], ...]  # the likeliest tokens under the raw logits, where asked for


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a row's vocabulary, sorted by falling logit and then by token id.

    Only the first `sure` entries are certain to be those that a sort of everything would give:
    among tokens that tie with the last one, some may have been left out.
    """

    logits: npt.NDArray[np.float32]  # [width]
    tokens: npt.NDArray[np.int64]  # [width]
    sure: int
    whole: bool  # nothing of the vocabulary lies outside


class TooNarrow(Exception):
    """The head does not reach as far as the row's settings need."""


def sample(logits: torch.Tensor, states: Sequence[SamplingState]) -> list[Choice | Exception]:
    """Draw the next token of every row.

    Args:
        logits: [rows, vocabulary], float32, raw; overwritten.
        states: one for each row.

    Returns:
        For each row its choice, or the error that belongs to that row alone.

    Where u is uniform from the counter (seed, step), the token is the first one, by falling probability and
    then by id, at which the cumulative probability of the kept tokens exceeds u (float64). Greedy: the first
    token of the largest logit.
    """
    logits = logits.cpu()
    logprobs = torch.log_softmax(logits, dim=-1)  # [rows, vocabulary]
    rows = logits.numpy()
    tokens: list[int | Exception] = [_processed(row, state) for row, state in zip(rows, states, strict=True)]
    drawing = [i for i, state in enumerate(states) if not state.settings.greedy and tokens[i] == DRAW]
    numbers = uniform([states[i].seed for i in drawing], [states[i].step for i in drawing])
    heads = _first_heads(logits, {i: states[i].settings for i in drawing})
    for i, number in zip(drawing, numbers, strict=True):
        tokens[i] = _drawn(rows[i], heads[i], states[i].settings, float(number))
    return [
        token if isinstance(token, Exception) else _choice(token, logprobs[i], states[i].settings.logprobs)
        for i, token in enumerate(tokens)
    ]


DRAW = -1


def _processed(row: Logits, state: SamplingState) -> int | Exception:
    """The token where decoding is greedy, `DRAW` where one has to be drawn, or the row's error."""
    try:
        state.process(row)
    except MemoryError:
        raise  # it belongs to no row
    except Exception as error:
        return error
    return int(row.argmax()) if state.settings.greedy else DRAW


def _first_heads(logits: torch.Tensor, settings: dict[int, SamplingSettings]) -> dict[int, Head]:
    """The first head of each row, rows of one width together."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, own in settings.items():
        groups[min(_first_width(own), logits.shape[-1])].append(row)
    heads = {}
    for width, members in groups.items():
        values, tokens = torch.topk(logits[members], width, dim=-1)  # [members, width] each
        for row, row_values, row_tokens in zip(members, values.numpy(), tokens.numpy(), strict=True):
            heads[row] = sorted_head(row_values, row_tokens, logits.shape[-1])
    return heads


def _first_width(settings: SamplingSettings) -> int:
    """A power of two with room for tokens that tie with the last one kept."""
    if not settings.top_k:
        return OPEN_WIDTH
    return max(FIRST_WIDTH, 1 << (2 * settings.top_k - 1).bit_length())


def sorted_head(values: npt.NDArray[np.float32], tokens: npt.NDArray[np.int64], vocabulary: int) -> Head:
    order = np.lexsort((tokens, -values))
    values, tokens = values[order], tokens[order]
    whole = len(values) == vocabulary
    sure = len(values) if whole else int(np.count_nonzero(values > values[-1]))
    return Head(values, tokens, sure, whole)


def _drawn(row: Logits, head: Head, settings: SamplingSettings, number: float) -> int:
    """Draw from the row, from a wider head where the first one is too narrow."""
    total = None if settings.top_k else float(relative_weights(row, head.logits[0], settings.temperature).sum())
    while True:
        try:
            return draw(head, settings, number, total)
        except TooNarrow:
            width = min(len(head.logits) * WIDENING, len(row))
            values, tokens = torch.topk(torch.from_numpy(row), width)
            head = sorted_head(values.numpy(), tokens.numpy(), len(row))


def draw(head: Head, settings: SamplingSettings, number: float, total: float | None) -> int:
    """Keep tokens by top_k, top_p and min_p, in this order, and draw one of them.

    Args:
        number: uniform in [0, 1).
        total: the weight of the whole vocabulary relative to the likeliest token; None where top_k is set.

    Raises:
        TooNarrow: the head ends before the answer.
    """
    weights = relative_weights(head.logits, head.logits[0], settings.temperature)  # [width], the first one is 1
    kept = _top_k(head, settings.top_k) if settings.top_k else None
    cumulative = np.cumsum(weights[:kept])
    mass = float(cumulative[-1]) if total is None else total
    if settings.top_p < 1:
        kept = _within(head, 1 + int(np.searchsorted(cumulative, settings.top_p * mass, side="left")), kept)
    if settings.min_p > 0:
        kept = _within(head, int(np.count_nonzero(weights >= settings.min_p)), kept)
    if kept is not None:
        mass = float(cumulative[kept - 1])
    place = int(np.searchsorted(cumulative[:kept], number * mass, side="right"))
    # Rounding may carry the last draw past the end, or among the banned, whose weight is 0.
    place = min(place, _within(head, place + 1, kept) - 1, int(np.count_nonzero(weights)) - 1)
    return int(head.tokens[place])


def _top_k(head: Head, top_k: int) -> int:
    """How many tokens have at least the k-th largest logit: ties with it stay, as in transformers."""
    smallest = head.logits[min(top_k, len(head.logits)) - 1]
    return _within(head, int(np.count_nonzero(head.logits >= smallest)), None)


def _within(head: Head, count: int, limit: int | None) -> int:
    """`count`, no more than `limit`, and only if the head is sure so far."""
    if limit is not None:
        count = min(count, limit)
    if count > head.sure:
        if not head.whole:
            raise TooNarrow
        count = head.sure
    return count


def relative_weights(
    logits: npt.NDArray[np.float32], largest: np.float32, temperature: float
) -> npt.NDArray[np.float64]:
    """Probabilities relative to the likeliest token's, after temperature."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp((logits.astype(np.float64) - float(largest)) / temperature)


def _choice(token: int, logprobs: torch.Tensor, alternatives: int) -> Choice:
    return Choice(token, float(logprobs[token]), _likeliest(logprobs, alternatives) if alternatives else ())


def _likeliest(logprobs: torch.Tensor, count: int) -> tuple[tuple[int, float], ...]:
    """The `count` likeliest tokens, ties by id."""
    smallest = torch.topk(logprobs, min(count, len(logprobs))).values[-1]
    tokens = torch.nonzero(logprobs >= smallest).flatten().numpy()
    values = logprobs.numpy()[tokens]
    order = np.lexsort((tokens, -values))[:count]
    return tuple((int(tokens[i]), float(values[i])) for i in order)
