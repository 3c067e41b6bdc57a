"""Logit bias, bans and penalties: what changes a row's logits before a token is drawn from them.

They change only the tokens that a row names. So those are listed first, with what happens to each, alike for every
device; then the logits are changed, in a compiled loop on a CPU (`edit_row`) or on tensors (`edited`). The formulas are
those of transformers' logits processors, the presence and frequency penalties OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from worker.engine.compiled.compiling import called, compiled
from worker.engine.sampling.state import SamplingState
from worker.engine.sampling.token_lists import all_known, row_tokens, token_lists

BANNED = np.float32(-np.inf)
UNKNOWN_TOKEN = -1


class Edits(NamedTuple):
    """A logit x becomes x + bias, that is multiplied by `repetition` if negative and else divided by it, and `presence`
    is subtracted. No token of a row comes twice."""

    tokens: Any  # [edits], int32
    bias: Any  # [edits], float32; minus infinity for a ban
    repetition: Any  # [edits], float32; 1 for tokens that are not in the context
    presence: Any  # [edits], float32: the presence and frequency penalties together


@called
def list_edits(settings: Any, tokens: Any, places: Any, edits: Any) -> int:
    """One row's edits. Returns how many they are.

    Args:
        settings: of RECORD.
        tokens: RowTokens.
        places: [vocabulary], int32, all 0 before and after; meanwhile where a token is listed, counted from 1.
    """
    count = list_tokens(tokens, places, edits)
    for i in range(len(tokens.biased)):
        edits.bias[places[tokens.biased[i]] - 1] += tokens.biases[i]
    for token in tokens.banned:
        edits.bias[places[token] - 1] = BANNED
    if settings.no_repeat_ngram_size:
        ban_repeated_ngrams(tokens.context, settings.no_repeat_ngram_size, places, edits.bias)
    for token in tokens.context:
        edits.repetition[places[token] - 1] = settings.repetition_penalty
    penalise_presence(tokens.context[settings.prompt_tokens :], settings, places, edits.presence[:count])
    for i in range(count):
        places[edits.tokens[i]] = 0
    return count


@called
def list_tokens(tokens: Any, places: Any, edits: Any) -> int:
    """Every token that the row names, with nothing to be changed yet."""
    count = 0
    for named in (tokens.context, tokens.banned, tokens.biased):
        for token in named:
            if not places[token]:
                edits.tokens[count], edits.bias[count] = token, np.float32(0)
                edits.repetition[count], edits.presence[count] = np.float32(1), np.float32(0)
                count += 1
                places[token] = count
    return count


@called
def ban_repeated_ngrams(context: Any, size: int, places: Any, bias: Any) -> None:
    """Ban every token that would complete an n-gram of `size` which the context [length] has already."""
    tail = len(context) - size + 1
    for start in range(tail):
        same = True
        for i in range(size - 1):
            same = same and context[start + i] == context[tail + i]
        if same:
            bias[places[context[start + size - 1]] - 1] = BANNED


@called
def penalise_presence(text: Any, settings: Any, places: Any, presence: Any) -> None:
    """OpenAI's formula: logit[j] -= count[j] * frequency_penalty + (count[j] > 0) * presence_penalty.

    Args:
        text: [length], int32, without the prompt.
        presence: [edits], float32, 0.
    """
    for token in text:
        presence[places[token] - 1] += np.float32(1)
    for i in range(len(presence)):
        if presence[i] > 0:
            presence[i] = np.float32(presence[i] * settings.frequency_penalty + settings.presence_penalty)


@called
def edit_row(logits: Any, edits: Any, count: int) -> None:
    """Change one row's logits [vocabulary] in place, by the first `count` edits."""
    for i in range(count):
        value = logits[edits.tokens[i]] + edits.bias[i]
        value = value * edits.repetition[i] if value < 0 else value / edits.repetition[i]
        logits[edits.tokens[i]] = value - edits.presence[i]


def edited(logits: torch.Tensor, edits: torch.Tensor) -> torch.Tensor:
    """The same on tensors: logits [edits], and edits [3, edits]: bias, repetition, presence."""
    bias, repetition, presence = edits
    biased = logits + bias
    penalised: torch.Tensor = torch.where(biased < 0, biased * repetition, biased / repetition) - presence
    return penalised


def edits_of(
    states: Sequence[SamplingState], settings: Any, vocabulary: int
) -> tuple[Edits, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Every row's edits, for a device.

    Args:
        settings: [rows], of RECORD; those of `states`.

    Returns:
        The edits; [edits], the row of each; [rows], whether the row names a token that the vocabulary lacks, and so
        has no edits.
    """
    lists = token_lists(states)
    room = len(lists.contexts) + len(lists.banned) + len(lists.biased)
    edits = Edits(np.empty(room, np.int32), *(np.empty(room, np.float32) for _ in range(3)))
    counts = np.empty(len(states), np.int64)
    list_edits_of_rows(settings, lists, np.zeros(vocabulary, np.int32), edits, counts)
    rows = np.repeat(np.arange(len(states)), np.maximum(counts, 0))
    return Edits(*(column[: len(rows)] for column in edits)), rows, counts == UNKNOWN_TOKEN


@compiled
def list_edits_of_rows(settings: Any, lists: Any, places: Any, edits: Any, counts: Any) -> None:
    """Every row's edits, one row's after the other's, and to counts [rows] how many each has, or UNKNOWN_TOKEN."""
    end = 0
    for row in range(len(settings)):
        tokens = row_tokens(lists, row)
        counts[row] = UNKNOWN_TOKEN
        if all_known(tokens, len(places)):
            rest = Edits(edits.tokens[end:], edits.bias[end:], edits.repetition[end:], edits.presence[end:])
            counts[row] = list_edits(settings[row], tokens, places, rest)
            end += counts[row]
