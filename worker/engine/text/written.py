"""A text as its tokens write it, one after the other: what decoding all of them gives, but for its end.

Bytes at its end that begin a character are left out, since nobody knows which one. Tokenizers are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from worker.engine.text.byte_run import REPLACEMENT, SPACE, ByteRun, unfinished_end


class Text(Protocol):
    """A text that grows."""

    def append(self, token: int) -> int:
        """Add what a token writes. Returns from which byte on the text is not as it was."""

    def find(self, content: bytes, start: int) -> int:
        """Where UTF-8 first is, from the byte `start` on; -1 where it is not."""

    def cut(self, place: int) -> None:
        """End the text before the byte `place`, at which something begins that was found."""

    def finished(self) -> str:
        """The text, if no token follows. Bytes that are no UTF-8, and U+0000, become U+FFFD."""


class PieceSource(Protocol):
    """What tokens write."""

    @property
    def spares_characters(self) -> bool:
        """See ByteRun."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text: none where it adds nothing."""

    def is_single_byte(self, token: int) -> bool:
        """Whether it stands for a byte as those do of which a ByteRun is made."""

    def interrupts(self, token: int) -> bool:
        """Whether it adds nothing and yet ends a ByteRun."""


class WrittenText:
    """The pieces of tokens, joined."""

    def __init__(self, pieces: PieceSource, opening: Callable[[int], bytes] | None = None) -> None:
        """`opening`: what a token adds where it comes first; None where that is its piece."""
        self._pieces, self._opening = pieces, opening
        self._bytes = bytearray()
        self._run: ByteRun | None = None  # which the next token may go on with
        self._broken: tuple[int, ByteRun] | None = None  # the last one that a token broke, and where it ends

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self._bytes[part])

    @property
    def is_run_unfinished(self) -> bool:
        """Whether every token that does not stand for a byte would break a character."""
        return self._run is not None and self._run.is_unfinished

    def append(self, token: int) -> int:
        piece = self._pieces.piece(token)
        if not piece:
            return self._close_run() if self._pieces.interrupts(token) else len(self)
        opening, self._opening = self._opening, None
        if self._pieces.is_single_byte(token):
            return self._extend_run(piece, loses_space=opening is not None and piece == SPACE != opening(token))
        changed = self._close_run()
        self._bytes += opening(token) if opening else piece
        return changed

    def find(self, content: bytes, start: int) -> int:
        return self._bytes.find(content, start)

    def cut(self, place: int) -> None:
        del self._bytes[place:]
        if self._broken is not None and self._broken[0] == place:  # what broke it is gone
            run = self._broken[1]
            self._bytes[run.start :] = run.so_far

    def finished(self) -> str:
        content = bytes(self._bytes)
        whole = content.removesuffix(unfinished_end(content))
        return whole.decode("utf-8", "replace").replace("\0", REPLACEMENT)

    def _extend_run(self, byte: bytes, *, loses_space: bool) -> int:
        length = len(self)
        if self._run is None:
            self._run = ByteRun(length, loses_space=loses_space, spares_characters=self._pieces.spares_characters)
        before = self._run.so_far
        self._run.append(byte)
        self._bytes[self._run.start :] = now = self._run.so_far
        return length if now.startswith(before) else self._run.start

    def _close_run(self) -> int:
        length, run, self._run = len(self), self._run, None
        if run is None or not run.is_unfinished:
            return length
        self._bytes[run.start :] = run.closed
        self._broken = len(self), run
        return run.start
