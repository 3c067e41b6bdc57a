"""Words never to write, as token sequences, and which tokens would complete one of them now.

A thousand words may have a million tokens: they are laid out once a prompt, and a step looks at the few that match.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.engine.compiled.compiling import compiled

Tokens = npt.NDArray[np.int32]
NO_TOKENS: Tokens = np.zeros(0, np.int32)


class BadWords:
    """Token sequences that samples of the same settings share."""

    def __init__(self, words: Sequence[tuple[int, ...]] = ()) -> None:
        self._tokens: Tokens = np.array(list(chain.from_iterable(words)), np.int32)  # one word after the other
        self._ends: Tokens = np.array(list(accumulate(map(len, words))), np.int32)  # [words]

    def __len__(self) -> int:
        return len(self._ends)

    def completed_by(self, context: Tokens) -> Tokens:
        """The last token of each word whose other tokens the context [length] ends with."""
        if not len(self):
            return NO_TOKENS
        last_tokens = np.empty(len(self), np.int32)
        return last_tokens[: find_completed(context, self._tokens, self._ends, last_tokens)]


@compiled
def find_completed(context: Any, words: Any, ends: Any, last_tokens: Any) -> int:
    """See `BadWords.completed_by`: to last_tokens [words], and how many. Backwards: most words differ at once."""
    count, start, length = 0, 0, len(context)
    for end in ends:
        before = end - start - 1
        same = 0
        while same < before <= length and context[length - 1 - same] == words[end - 2 - same]:
            same += 1
        if same == before:
            last_tokens[count] = words[end - 1]
            count += 1
        start = end
    return count
