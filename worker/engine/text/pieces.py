"""The bytes that each token adds to a text: which tokens begin with given bytes, and which contain them.

Words, texts and tokenizers are not known here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from worker.engine.text.byte_run import REPLACEMENT

SEPARATOR = b"\xff"
"""No UTF-8 has this byte, so nothing that is looked for reaches from one piece into the next."""


class Pieces:
    """Every token that adds something to a text, with its bytes."""

    def __init__(
        self,
        pieces: Mapping[int, bytes],
        single_bytes: Iterable[int] = (),
        *,
        interrupting: Iterable[int] = (),
        spares_characters: bool = False,
    ) -> None:
        """
        Args:
            single_bytes: the tokens of which a ByteRun is made.
            interrupting: those that end one, and add nothing.
            spares_characters: of such a run; see there.
        """
        self.spares_characters = spares_characters
        self._of = {token: piece for token, piece in pieces.items() if piece}
        self._single_bytes, self._interrupting = frozenset(single_bytes), frozenset(interrupting)
        self._sorted = sorted((piece, token) for token, piece in self._of.items())
        self._joined = SEPARATOR.join(piece for piece, _ in self._sorted)
        self._longest = max(map(len, self._of.values()), default=0)
        self._starts = list(accumulate((len(piece) + 1 for piece, _ in self._sorted), initial=0))

    def piece(self, token: int) -> bytes:
        """A token's bytes: none where it adds nothing."""
        return self._of.get(token, b"")

    def is_single_byte(self, token: int) -> bool:
        return token in self._single_bytes

    def interrupts(self, token: int) -> bool:
        """Whether it adds nothing and yet ends a run of single bytes."""
        return token in self._interrupting

    def broken(self) -> Iterator[int]:
        """Every token whose bytes alone are not shown as they are: no whole characters, or U+0000."""
        for piece, token in self._sorted:
            if b"\0" in piece or REPLACEMENT in piece.decode("utf-8", "replace"):
                yield token

    def beginning_with(self, prefix: bytes) -> list[tuple[bytes, int]]:
        """Pieces and their tokens."""
        low = bisect_left(self._sorted, (prefix, -1))
        return self._sorted[low : bisect_right(self._sorted, prefix, low, key=lambda pair: pair[0][: len(prefix)])]

    def containing(self, content: bytes) -> Iterator[tuple[bytes, int, int]]:
        """Every place where a piece contains UTF-8: the piece, its token, and where in it."""
        place = self._joined.find(content) if len(content) <= self._longest else -1
        while place >= 0:
            number = bisect_right(self._starts, place) - 1
            yield *self._sorted[number], place - self._starts[number]
            place = self._joined.find(content, place + 1)
