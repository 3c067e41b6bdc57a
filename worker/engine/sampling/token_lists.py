"""The tokens that rows name, as compiled code reads them: one row's list after the other's.

What is done to those tokens is penalties.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from worker.engine.compiled.compiling import called
from worker.engine.sampling.state import SamplingState


class TokenLists(NamedTuple):
    """Of all rows. `x_starts`, [rows + 1], int64: where each row's part of x starts, and where the last one ends."""

    contexts: Any  # int32: what penalties look at; a prompt's tokens, then its text's
    context_starts: Any
    banned: Any  # int32
    banned_starts: Any
    biased: Any  # int32
    biases: Any  # float32
    biased_starts: Any


class RowTokens(NamedTuple):
    """Of one row."""

    context: Any  # [length], int32
    banned: Any  # [bans], int32
    biased: Any  # [biases], int32
    biases: Any  # [biases], float32


def token_lists(states: Sequence[SamplingState]) -> TokenLists:
    return TokenLists(
        *_joined([state.context_for_penalties for state in states]),
        *_joined([state.banned for state in states]),
        np.concatenate([state.biased for state in states]),
        *_joined([state.biases for state in states]),
    )


def _joined(arrays: Sequence[Any]) -> tuple[Any, Any]:
    return np.concatenate(arrays), np.cumsum([0, *map(len, arrays)])


@called
def row_tokens(lists: Any, row: int) -> Any:
    biased = slice(lists.biased_starts[row], lists.biased_starts[row + 1])
    return RowTokens(
        lists.contexts[lists.context_starts[row] : lists.context_starts[row + 1]],
        lists.banned[lists.banned_starts[row] : lists.banned_starts[row + 1]],
        lists.biased[biased],
        lists.biases[biased],
    )


@called
def all_known(tokens: Any, vocabulary: int) -> bool:
    """Whether the vocabulary has every token that a row names."""
    known = True
    for named in (tokens.context, tokens.banned, tokens.biased):
        for token in named:
            known = known and 0 <= token < vocabulary
    return known
