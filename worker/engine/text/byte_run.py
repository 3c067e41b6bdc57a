"""Tokens in a row that each stand for a byte: how SentencePiece's vocabularies write what they have no token for.

Where such a run is no UTF-8 altogether, decoding writes U+FFFD for each of its bytes, good characters included
(`ByteFallback` of the tokenizers library), or for each byte that is none of a character (SentencePiece's own code).
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
BROKEN = REPLACEMENT.encode()
SPACE = b" "
STRAY = re.compile("[\udc80-\udcff]")
BEGUN = re.compile(
    rb"([\xc2-\xdf]|\xe0[\xa0-\xbf]?|[\xe1-\xec\xee\xef][\x80-\xbf]?|\xed[\x80-\x9f]?"
    rb"|\xf0([\x90-\xbf][\x80-\xbf]?)?|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4([\x80-\x8f][\x80-\xbf]?)?)\Z"
)
"""What begins a character: the Unicode Standard, table 3-7. Python's own decoder takes surrogates for some, too."""


class ByteRun:
    """A run that starts at the byte `start` of its text."""

    def __init__(self, start: int, *, loses_space: bool, spares_characters: bool) -> None:
        """
        Args:
            loses_space: decoding takes a space from its start, which is that of the whole text.
            spares_characters: those beside bytes that are no UTF-8 stay as they are.
        """
        self.start, self._loses_space, self._spares_characters = start, loses_space, spares_characters
        self._bytes = b""

    def append(self, byte: bytes) -> None:
        self._bytes += byte

    @property
    def is_unfinished(self) -> bool:
        """Whether it ends within a character."""
        return bool(unfinished_end(self._bytes))

    @property
    def so_far(self) -> bytes:
        """What it writes, with an unfinished character at its end as it is."""
        end = unfinished_end(self._bytes)
        return self._decoded(self._bytes.removesuffix(end)) + end

    @property
    def closed(self) -> bytes:
        """What it writes where another token follows."""
        return self._decoded(self._bytes)

    def _decoded(self, content: bytes) -> bytes:
        text = content.decode("utf-8", "surrogateescape")  # a surrogate for each byte that is none of a character
        if not self._spares_characters and STRAY.search(text):
            return BROKEN * len(content)
        return STRAY.sub(REPLACEMENT, text.removeprefix(" ") if self._loses_space else text).encode()


def unfinished_end(content: bytes) -> bytes:
    """The bytes at the end that begin a character whose others are still to come."""
    begun = BEGUN.search(content[-3:])
    return begun[0] if begun else b""
