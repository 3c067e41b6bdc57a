"""A text of a tokenizer whose tokens write something else beside other tokens: after each, all are decoded again.

It takes as long for each token as the text is long. Any tokenizer will do; nothing else is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from worker.engine.text.byte_run import REPLACEMENT


class DecodedText:
    """What decoding gives, without the prompt's part."""

    def __init__(self, decode: Callable[[list[int]], str], prompt: list[int]) -> None:
        self._decode, self._tokens = decode, list(prompt)
        self._prompt_length = len(decode(prompt))
        self._bytes = b""

    def append(self, token: int) -> int:
        self._tokens.append(token)
        before, self._bytes = self._bytes, self._decoded()
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, self._bytes, strict=False)))

    def find(self, content: bytes, start: int) -> int:
        return self._bytes.find(content, start)

    def cut(self, place: int) -> None:
        self._bytes = self._bytes[:place]

    def finished(self) -> str:
        """Every U+FFFD at the end is left out: it may stand for the beginning of a character."""
        return self._bytes.decode("utf-8").rstrip(REPLACEMENT).replace("\0", REPLACEMENT)

    def _decoded(self) -> bytes:
        return self._decode(self._tokens)[self._prompt_length :].encode("utf-8", "replace")
