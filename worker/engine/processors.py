"""Logit bias, bans and penalties: what changes one row's logits before a token is drawn from them.

Each works in place on one row and looks at that row's own tokens only. The formulas are those of
transformers' logits processors, the presence and frequency penalties OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]  # [vocabulary]
Tokens = npt.NDArray[np.int64]  # [length]


def add_bias(logits: Logits, bias: Sequence[tuple[int, float]]) -> None:
    """Add to the logits of single tokens."""
    for token, amount in bias:
        logits[token] += np.float32(amount)


def ban(logits: Logits, tokens: Sequence[int] | Tokens) -> None:
    """Make these tokens impossible."""
    logits[np.asarray(tokens, dtype=np.int64)] = -np.inf


def ban_bad_words(logits: Logits, context: Tokens, words: Sequence[tuple[int, ...]]) -> None:
    """Ban the last token of each word whose other tokens the context ends with."""
    last = [
        word[-1]
        for word in words
        if len(word) == 1
        or (len(context) >= len(word) - 1 and tuple(context[len(context) - len(word) + 1 :]) == word[:-1])
    ]
    ban(logits, last)


def ban_repeated_ngrams(logits: Logits, context: Tokens, size: int) -> None:
    """Ban every token that would complete an n-gram of `size` which the context has already."""
    if len(context) < size:
        return
    ngrams = np.lib.stride_tricks.sliding_window_view(context, size)  # [n-grams, size]
    tail = context[len(context) - size + 1 :]
    ban(logits, ngrams[(ngrams[:, :-1] == tail).all(axis=1), -1])


def penalise_repetition(logits: Logits, context: Tokens, penalty: float) -> None:
    """Divide positive and multiply negative logits of tokens in the context (CTRL, Keskar et al. 2019)."""
    seen = np.unique(context)
    values, factor = logits[seen], np.float32(penalty)
    logits[seen] = np.where(values < 0, values * factor, values / factor)


def penalise_presence(logits: Logits, text: Tokens, presence: float, frequency: float) -> None:
    """Subtract `presence` once and `frequency` for each time, from the logits of tokens in the text.

    OpenAI's formula: logit[j] -= count[j] * frequency + (count[j] > 0) * presence.
    """
    seen, counts = np.unique(text, return_counts=True)
    logits[seen] -= (counts * frequency + presence).astype(np.float32)
