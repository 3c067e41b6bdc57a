"""Logit bias, bans and penalties: what changes one row's logits before a token is drawn from them.

Each works in place on one row and looks at that row's own tokens only. The formulas are those of
transformers' logits processors, the presence and frequency penalties OpenAI's. Compiled with numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import called

BANNED = np.float32(-np.inf)


@called
def ban(logits: Any, tokens: Any) -> None:
    """Ban `tokens`, int32, from a row's logits [vocabulary], float32."""
    for token in tokens:
        logits[token] = BANNED


@called
def ban_repeated_ngrams(logits: Any, context: Any, size: int) -> None:
    """Ban every token that would complete an n-gram of `size` which the context [length] has already."""
    tail = len(context) - size + 1
    for start in range(tail):
        same = True
        for i in range(size - 1):
            same = same and context[start + i] == context[tail + i]
        if same:
            logits[context[start + size - 1]] = BANNED


@called
def penalise_repetition(logits: Any, context: Any, penalty: Any, counts: Any) -> None:
    """Divide positive and multiply negative logits of tokens in the context (CTRL, Keskar et al. 2019).

    `counts`: [vocabulary], int32, all 0 before and after.
    """
    for token in context:
        if not counts[token]:
            counts[token] = 1
            value = logits[token]
            logits[token] = value * penalty if value < 0 else value / penalty
    for token in context:
        counts[token] = 0


@called
def penalise_presence(logits: Any, text: Any, presence: Any, frequency: Any, counts: Any) -> None:
    """Subtract `presence` once and `frequency` for each time, from the logits of tokens in the text [length].

    OpenAI's formula: logit[j] -= count[j] * frequency + (count[j] > 0) * presence.
    `counts`: [vocabulary], int32, all 0 before and after.
    """
    for token in text:
        counts[token] += 1
    for token in text:
        if counts[token]:
            logits[token] -= np.float32(counts[token] * frequency + presence)
            counts[token] = 0
