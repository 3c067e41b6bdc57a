"""What settings change of a row's logits, as a list of few: bias and bans, then penalties. Compiled with numba.

They change only the tokens that they name. So the tokens are found here, where contexts are, and changed on the
device where the logits are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.engine.compiled.compiling import compiled
from worker.engine.sampling.penalties import ban, ban_repeated_ngrams
from worker.engine.sampling.sampler import all_known
from worker.engine.sampling.state import SamplingState


@dataclass(frozen=True, slots=True)
class Edits:
    """A logit x becomes (x + bias), times the penalty where it is negative and divided by it elsewhere, less `less`.

    No token of a row comes twice.
    """

    rows: npt.NDArray[np.int64]  # [edits]
    tokens: npt.NDArray[np.int64]  # [edits]
    values: npt.NDArray[np.float32]  # [edits, 3]: bias (minus infinity for a ban), penalty, less
    unknown: npt.NDArray[np.bool_]  # [rows]: whether it names a token that there is not; then it has no edits


def edits(states: Sequence[SamplingState], records: Any, vocabulary: int) -> Edits:
    """What is to be changed of each row.

    Args:
        records: [rows], of RECORD; the settings of `states`.
    """
    bias, counts, seen = np.zeros(vocabulary, np.float32), np.zeros(vocabulary, np.int32), np.zeros(vocabulary, bool)
    unknown, parts = np.zeros(len(states), bool), []
    for row, state in enumerate(states):
        context = state.context_for_penalties
        ending = state.step < state.settings.min_new_tokens
        if not (ending or len(context) or len(state.biased)):
            continue
        eos = state.eos[: len(state.eos) if ending else 0]
        banned = state.banned
        room = len(state.biased) + len(banned) + len(eos) + len(context)
        tokens, values = np.empty(room, np.int64), np.empty((room, 3), np.float32)
        lists = (context, eos, banned, state.biased, state.biases)
        count = edits_of_row(records[row], *lists, bias, counts, seen, tokens, values)
        unknown[row] = count < 0
        parts.append((np.full(max(count, 0), row), tokens[: max(count, 0)], values[: max(count, 0)]))
    if not parts:
        return Edits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32), unknown)
    rows, tokens, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Edits(rows, tokens, values, unknown)


@compiled
def edits_of_row(
    own: Any,
    context: Any,
    eos: Any,
    banned: Any,
    biased: Any,
    biases: Any,
    bias: Any,
    counts: Any,
    seen: Any,
    tokens: Any,
    values: Any,
) -> int:
    """One row's edits, to tokens [room] and values [room, 3]. Returns how many, or -1 where a token is unknown.

    `bias`, `counts` and `seen`: [vocabulary], all 0 before and after.
    """
    size = len(bias)
    if not (all_known(context, size) and all_known(eos, size) and all_known(banned, size) and all_known(biased, size)):
        return -1
    for i in range(len(biased)):
        bias[biased[i]] += biases[i]
    ban(bias, banned)
    ban(bias, eos)
    if own.no_repeat_ngram_size:
        ban_repeated_ngrams(bias, context, own.no_repeat_ngram_size)
    for token in context[own.prompt_tokens :]:
        counts[token] += 1
    found = 0
    for token in context:
        if not seen[token]:
            seen[token] = True
            tokens[found] = token
            values[found, 1] = own.repetition_penalty
            found += 1
    for named in (biased, banned, eos):
        for token in named:
            if not seen[token]:
                seen[token] = True
                tokens[found] = token
                values[found, 1] = np.float32(1)
                found += 1
    for i in range(found):
        token = tokens[i]
        written = counts[token]
        values[i, 0] = bias[token]
        values[i, 2] = written * own.frequency_penalty + own.presence_penalty if written else 0.0
        bias[token], counts[token], seen[token] = np.float32(0), 0, False
    return found
