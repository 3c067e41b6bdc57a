"""From logits to tokens on a GPU, by the rule of worker.engine.sampling.sampler and with the same random numbers.

The host sends the settings in a few small copies, and waits once: for the tokens. Every sum runs over one shape,
whatever is asked for, or over integers, which do not round: a row cannot depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from worker.engine.sampling.penalties import edited, edits_of
from worker.engine.sampling.philox import uniform
from worker.engine.sampling.sampler import ALL_BANNED, NO_SUCH_TOKEN, NOT_FINITE, Choice, sampling_error
from worker.engine.sampling.state import RECORD, SamplingState
from worker.engine.sampling.truncation import GROUP, STEEPEST

UNIT = 2.0**40
"""What weight 1 is as an integer; a vocabulary's sum stays far below 2**63."""

ID = 2**31  # more than there are ids


def sample(
    logits: torch.Tensor, vocabulary: int, states: Sequence[SamplingState], rows: int
) -> list[Choice | Exception]:
    """Draw the next token of every row.

    Args:
        logits: [a multiple of rows, columns], float32, raw. Rows beyond `states` and columns beyond `vocabulary` are
            padding, the latter minus infinity. Columns: a multiple of GROUP.
        states: one for each row that is wanted.
        rows: how many are drawn at once; the same number in every call.

    Returns:
        For each state its choice, or the error that belongs to that row alone.
    """
    blocks = [states[start : start + rows] for start in range(0, len(states), rows)]
    parts: Any = torch.split(logits, rows)
    draws = [_Draw(part, vocabulary, block) for part, block in zip(parts, blocks, strict=True)]
    results = [draw.results().to("cpu", non_blocking=True) for draw in draws]
    if logits.device.type == "cuda":
        torch.cuda.current_stream().synchronize()
    return [choice for draw, result in zip(draws, results, strict=True) for choice in draw.choices(result)]


class _Draw:
    """One draw of a block of rows. Tensors are on the device, and nothing waits for it."""

    def __init__(self, logits: torch.Tensor, vocabulary: int, states: Sequence[SamplingState]) -> None:
        self._raw, self._vocabulary, self._states = logits, vocabulary, states
        self._settings = settings = np.array([state.record for state in states], RECORD)
        self._edits, self._edited_rows, unknown = edits_of(states, settings, vocabulary)
        drawn, top_k = ~settings["greedy"], settings["top_k"]
        self._limited = drawn & (top_k > 0) & (top_k < vocabulary)  # [states], as the next
        self._nucleus = drawn & (settings["top_p"] < 1)
        self._top_logprobs = int(settings["logprobs"].max())
        columns = (
            uniform([state.seed for state in states], [state.step for state in states]),
            1 / np.maximum(settings["temperature"], 1 / STEEPEST),
            np.where(self._limited, top_k, 0),
            settings["top_p"],
            settings["min_p"],
            settings["greedy"],
            unknown,
        )
        table = np.zeros((len(logits), len(columns)))  # float64 is exact for integers of this size
        table[: len(states)] = np.stack(columns, axis=1)
        sent = self._to_device(table).unsqueeze(2).unbind(1)  # each [rows, 1]
        self._numbers, self._steepness, self._top_k, self._top_p, self._min_p, self._greedy, self._unknown = sent

    def choices(self, results: torch.Tensor) -> list[Choice | Exception]:
        """From `results`, on the CPU."""
        listed: list[list[float]] = results[: len(self._states)].tolist()
        return [self._choice(*pair) for pair in zip(listed, self._states, strict=True)]

    def _choice(self, result: list[float], state: SamplingState) -> Choice | Exception:
        token, logprob, *likeliest = result
        if token < 0:
            return sampling_error(int(token), state)
        best, logprobs = likeliest[: self._top_logprobs], likeliest[self._top_logprobs :]
        top = zip(map(int, best), logprobs, strict=True)
        return Choice(int(token), logprob, tuple(islice(top, state.settings.logprobs)))

    def results(self) -> torch.Tensor:
        """[rows, 2 + 2 * top logprobs], float64: token or error code, its log probability, the likeliest, theirs."""
        largest = self._raw.amax(-1, keepdim=True)  # [rows, 1], as all below
        total = _sums(torch.exp(self._raw - largest))[:, -1:]
        level = largest.double() + total.log()  # the logarithm of the sum of all exponentials
        processed = self._edited()
        token = self._chosen(processed)
        logprob = self._raw.gather(1, token).double() - level
        token = torch.where(processed.amax(-1, keepdim=True) == -torch.inf, ALL_BANNED, token)
        token = torch.where(level.isfinite(), token, NOT_FINITE)
        token = torch.where(self._unknown > 0, NO_SUCH_TOKEN, token)
        return torch.cat([token, logprob, *self._likeliest(level)], dim=1)

    def _edited(self) -> torch.Tensor:
        """The logits with bias, bans and penalties, [rows, columns]."""
        if not len(self._edited_rows):
            return self._raw
        tokens, *changes = self._edits
        places = self._to_device(self._edited_rows * self._raw.shape[1] + tokens)  # [edits]
        processed = self._raw.clone()
        processed.view(-1)[places] = edited(self._raw.view(-1)[places], self._to_device(np.stack(changes)))
        return processed

    def _chosen(self, processed: torch.Tensor) -> torch.Tensor:
        """[rows, 1], int64."""
        first = processed.argmax(-1, keepdim=True)
        if self._settings["greedy"].all():
            return first
        return torch.where(self._greedy > 0, first, _first_beyond(self._weights(processed), self._numbers))

    def _weights(self, processed: torch.Tensor) -> torch.Tensor:
        """[rows, columns], relative to the likeliest token's: 0 for what top_k, top_p or min_p, in this order, drop."""
        largest = processed.amax(-1, keepdim=True)
        weights = torch.exp((processed - largest) * self._steepness.float())
        falling = processed[:, :0]
        if self._limited.any():
            largest_k = int(self._settings["top_k"][self._limited].max())
            falling = processed.topk(largest_k, -1).values  # [rows, largest top_k]
            least = falling.gather(1, (self._top_k.long() - 1).clamp_min(0))
            weights = torch.where((processed >= least) | (self._top_k == 0), weights, 0)
        if self._nucleus.any():
            weights = self._within_nucleus(processed, weights, falling)
        if self._settings["min_p"].any():
            weights = torch.where(weights >= self._min_p.float(), weights, 0)
        return weights

    def _within_nucleus(self, processed: torch.Tensor, weights: torch.Tensor, falling: torch.Tensor) -> torch.Tensor:
        """Drop what lies outside the smallest set, by falling logit and then by id, that has top_p of the weight.

        Args:
            processed, weights: [rows, columns].
            falling: [rows, largest top_k]: the largest logits, in falling order.
        """
        goal = self._top_p * _sums(weights)[:, -1:]
        edge, ties = torch.full_like(processed[:, :1], -torch.inf), torch.zeros_like(goal)
        for chosen, limited in ((self._nucleus & self._limited, True), (self._nucleus & ~self._limited, False)):
            if chosen.any():
                rows = self._to_device(np.flatnonzero(chosen))
                logits = falling[rows] if limited else processed[rows].sort(-1, descending=True).values
                edge[rows], ties[rows] = _edge(logits, self._steepness[rows], goal[rows])
        tied = (processed == edge) & (weights > 0)
        count = tied.sum(-1, keepdim=True)
        # The id of the last one tied at the edge that stays is found as a token is drawn.
        end = _first_beyond(tied.float(), (ties.minimum(count) - 0.5) / count)
        ids = torch.arange(weights.shape[1], device=weights.device)
        return torch.where((processed > edge) | (tied & (ids <= end)), weights, 0)

    def _likeliest(self, level: torch.Tensor) -> list[torch.Tensor]:
        """Ids and log probabilities under the raw logits, both [rows, top logprobs], by falling logit, then by id."""
        count = min(self._top_logprobs, self._vocabulary - 1)
        if not self._top_logprobs:
            return []
        ids = torch.arange(self._raw.shape[1], device=self._raw.device)
        bits = (self._raw + 0.0).view(torch.int32).long()  # so that -0.0 is 0.0
        ranks = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # ordered as the logits are
        tokens = -(ranks * ID - ids).topk(count, -1).values % ID  # no two are equal, so that their order is certain
        logprobs = self._raw.gather(1, tokens).double() - level
        return [F.pad(each.double(), (0, self._top_logprobs - count)) for each in (tokens, logprobs)]

    def _to_device(self, array: Any) -> torch.Tensor:
        """On the device. The copy is queued: torch uses pinned memory again only when its copy is done."""
        tensor, device = torch.from_numpy(array), self._raw.device
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _edge(falling: torch.Tensor, steepness: torch.Tensor, goal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest logit of a nucleus, and how many of those that are equal to it stay; each [rows, 1].

    Args:
        falling: [rows, k], the largest logits in falling order.
        steepness: [rows, 1].
        goal: [rows, 1]: the weight that the nucleus must have, float64.
    """
    weights = torch.exp((falling - falling[:, :1]) * steepness.float())
    units, goal = (weights.double() * UNIT).long(), goal * UNIT
    at = (units.cumsum(-1) < goal).sum(-1, keepdim=True).clamp_max(falling.shape[1] - 1)
    edge = falling.gather(1, at)
    above = torch.where(falling > edge, units, 0).sum(-1, keepdim=True)
    return edge, ((goal - above) / units.gather(1, at).clamp_min(1)).ceil().clamp_min(1)


def _sums(weights: torch.Tensor) -> torch.Tensor:
    """Of weights [rows, columns], the sum up to the end of each group of GROUP: [rows, groups], float64."""
    return weights.view(len(weights), -1, GROUP).sum(-1).double().cumsum(-1)


def _first_beyond(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first id at which the cumulative weight exceeds number times the sum, [rows, 1], int64.

    Args:
        weights: [rows, columns].
        numbers: [rows, 1], in [0, 1).
    """
    sums = _sums(weights)
    goal, before = numbers * sums[:, -1:], F.pad(sums[:, :-1], (1, 0))
    # Where rounding carries the goal past the end, it is in the last group that has weight.
    group = _first((sums > goal) & (sums > before), _last(sums > before))
    groups = weights.view(len(weights), -1, GROUP)
    inside = groups.gather(1, group[:, :, None].expand(-1, -1, GROUP))[:, 0]  # [rows, GROUP]
    reached = before.gather(1, group) + inside.double().cumsum(-1)
    return group * GROUP + _first((reached > goal) & (inside > 0), _last(inside > 0))


def _first(hits: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """The first true place in each row of hits [rows, places], [rows, 1]; `otherwise` where there is none."""
    return torch.where(hits.any(-1, keepdim=True), hits.byte().argmax(-1, keepdim=True), otherwise)


def _last(hits: torch.Tensor) -> torch.Tensor:
    """The last true place in each row, [rows, 1]."""
    return hits.shape[1] - 1 - hits.flip(-1).byte().argmax(-1, keepdim=True)
