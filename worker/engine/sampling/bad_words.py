"""Words never to write, and which tokens would write one now.

A text may end after any token. So a token is banned with which the text would contain a word or end with it, and no
text ever ends with one: whether a word is whole is seen within a token, and nothing is taken back. "the" may come in
a token "then", and never in front of a token "n". Everything is bytes, since tokens are. Where a piece does not show
whether a word is whole, as behind half a character, it counts as whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from common.bounded_memo import BoundedMemo
from common.word_characters import is_mark, is_word_character
from worker.engine.text.byte_run import REPLACEMENT
from worker.engine.text.pieces import Pieces
from worker.engine.text.written import WrittenText

Tokens = npt.NDArray[np.int32]
NO_TOKENS: Tokens = np.zeros(0, np.int32)

BEYOND = b"\xff"
"""Sorts behind every UTF-8."""
LOOKED_BACK = 64
"""So many bytes before a place show whether it is inside a word; no accents go on for longer."""
LOOKED_AHEAD = 8
"""So many of a word's next bytes show whether tokens go on so: hardly any are longer."""


class BadWords:
    """What settings ban. Samples of the same settings share it."""

    def __init__(
        self,
        words: Iterable[str] = (),
        pieces: Pieces | None = None,
        *,
        whole: bool = True,
        stops: Iterable[str] = (),
        tokens: Iterable[int] = (),
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Args:
            pieces: those of the model's tokens.
            whole: a word that is only part of a longer one may be written. An edge of a word that is no letter, digit
                or underscore, or of a script without spaces, asks for none before or behind it all the same.
            stops: the text is cut where one of these begins, which makes a word in front of it whole.
            tokens: banned wherever they stand, whatever they write.
            alive: called after each word, of which there may be a thousand.
        """
        named = list(words)
        self.pieces = pieces or Pieces({})
        self._words = sorted({word.encode() for word in named})
        self._bounded_before = {word.encode() for word in named if whole and is_word_character(word[0])}
        self._bounded_after = {word.encode() for word in named if whole and ends_inside_word(word.encode())}
        self._stop_starts = {stop[0] for stop in stops}
        self._finishing: BoundedMemo[tuple[bytes, bool], Tokens] = BoundedMemo()
        self._within, self._at_boundary = self._tokens_with_words({*tokens, *self._broken_tokens()}, alive)

    def __len__(self) -> int:
        return len(self._words)

    def begin_with(self, text: bytes) -> bool:
        """Whether some word begins so and goes on."""
        place = bisect_right(self._words, text)
        return place < len(self._words) and self._words[place].startswith(text)

    def banned_after(self, begun: bytes, before: bytes) -> Tokens:
        """The tokens with which a text would contain a word, or end with it.

        Args:
            begun: the text's end, from where the longest beginning of a word starts.
            before: some of what comes before that.
        """
        inside = ends_inside_word(before)
        finishing = self._finishing.get(
            (begun, inside),
            lambda: as_tokens(self._tokens_finishing(begun, inside)),
            lambda tokens: len(begun) + tokens.nbytes,
        )
        fresh = NO_TOKENS if ends_inside_word(begun, otherwise=inside) else self._at_boundary
        return np.concatenate([self._within, fresh, finishing])

    def _broken_tokens(self) -> Iterable[int]:
        """What U+FFFD may stand for, where a word has that."""
        return self.pieces.broken() if any(REPLACEMENT.encode() in word for word in self._words) else ()

    def _tokens_with_words(self, within: set[int], alive: Callable[[], object]) -> tuple[Tokens, Tokens]:
        """`within` and the tokens that contain a word wherever they stand; those that do where no word is under way."""
        at_boundary = set[int]()
        for word in self._words:
            for piece, token, place in self.pieces.containing(word):
                if self._is_over(word, piece[place + len(word) :]):
                    if word not in self._bounded_before or (place and not ends_inside_word(piece[:place])):
                        within.add(token)
                    elif not place:
                        at_boundary.add(token)
            alive()
        return as_tokens(within), as_tokens(at_boundary - within)

    def _tokens_finishing(self, begun: bytes, inside: bool) -> Iterator[int]:
        """The tokens that finish a word which `begun` has begun, at its start or later."""
        for start in range(len(begun)):
            written = len(begun) - start
            words = self._going_on(begun[start:])
            if words and self._some_token_goes_on(words, written):
                within_word = ends_inside_word(begun[:start], otherwise=inside)
                for word in words:
                    if not (within_word and word in self._bounded_before):
                        yield from self._tokens_with_rest(word, written)

    def _some_token_goes_on(self, words: list[bytes], written: int) -> bool:
        """False where sorted words that begin alike all go on alike, and no token does."""
        shared = words[0][written : written + LOOKED_AHEAD]
        return not words[-1].startswith(shared, written) or bool(self.pieces.beginning_with(shared))

    def _tokens_with_rest(self, word: bytes, written: int) -> Iterator[int]:
        rest = word[written:]
        for piece, token in self.pieces.beginning_with(rest):
            if self._is_over(word, piece[len(rest) :]):
                yield token

    def _going_on(self, text: bytes) -> list[bytes]:
        """The words that begin so and go on, sorted."""
        return self._words[bisect_right(self._words, text) : bisect_left(self._words, text + BEYOND)]

    def _is_over(self, word: bytes, following: bytes) -> bool:
        """Whether a word ends where it ends, rather than being part of a longer one."""
        if word not in self._bounded_after or not following:
            return True
        character = following[:4].decode("utf-8", "replace")[0]
        goes_on = is_word_character(character) or is_mark(character)
        return not goes_on or character in self._stop_starts


class TextEnd:
    """One text's end, as far as words have to be known by it."""

    def __init__(self, words: BadWords) -> None:
        self._words = words
        self._text = WrittenText(words.pieces)
        self._starts: list[int] = []  # where beginnings of words start that the text ends with

    def append(self, token: int) -> None:
        if not self._words:
            return
        changed = self._text.append(token)
        starts = [*(start for start in self._starts if start < changed), *range(changed, len(self._text))]
        self._starts = [start for start in starts if self._words.begin_with(self._text[start:])]

    @property
    def banned(self) -> Tokens:
        if not self._words:
            return NO_TOKENS
        start = self._starts[0] if self._starts else len(self._text)
        before = self._text[max(0, start - LOOKED_BACK) : start]
        banned = self._words.banned_after(self._text[start:], before)
        if not self._text.is_run_unfinished:
            return banned
        return np.concatenate([banned, self._words.banned_after(b"", REPLACEMENT.encode())])  # what may be there then


def ends_inside_word(text: bytes, otherwise: bool = False) -> bool:
    """Whether a text ends with a character of a word and the marks on it, so that a letter would go on with the word.

    `otherwise`: the answer where there are only marks, or nothing.
    """
    for character in reversed(text.decode("utf-8", "replace")):
        if not is_mark(character):
            return is_word_character(character)
    return otherwise


def as_tokens(tokens: Iterable[int]) -> Tokens:
    return np.array(sorted(set(tokens)), np.int32)
