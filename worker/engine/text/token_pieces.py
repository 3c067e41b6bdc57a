"""What each token writes, found by asking a tokenizer; and whether that can be said without the tokens around it.

Prompts and special tokens' meaning are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from worker.engine.text.byte_run import REPLACEMENT
from worker.engine.text.decoded import DecodedText
from worker.engine.text.pieces import Pieces
from worker.engine.text.written import Text, WrittenText

BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")
"""How SentencePiece names a token that stands for a byte."""
SPACELESS = "[\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60\U00020000-\U0003ffff]"
"""Characters of Chinese and Japanese, and their punctuation."""
CHARACTER, SPACE_BEFORE_CHARACTER = re.compile(SPACELESS), re.compile(f" (?={SPACELESS})")
TRIED_TOKENS = 500
TRIED_RUNS = ("é€🙂".encode(), b"a\xe2\x82", b"\xff\xe2\x82\xac", b"\n\xed\xa0\x80")
"""What is tried the first time that a text begins."""


class TokenPieces:
    """The bytes that each token adds to a text, whatever the tokenizer."""

    opening: Callable[[int], bytes] | None
    """What a token adds as a text's first one; None where that is its piece."""

    def __init__(self, tokenizer: Any, special: frozenset[int], size: int) -> None:
        """
        Args:
            special: tokens that write nothing.
            size: the model's tokens are below it.
        """
        self._tokenizer, self._special = tokenizer, special
        self._tokens = {name: token for name, token in tokenizer.get_vocab().items() if token < size}
        self._ids = frozenset(self._tokens.values())
        self._found: dict[int, bytes] = {}
        self.opening = self._decoded_first

    def piece(self, token: int) -> bytes:
        """None for special tokens and for ids without a token."""
        if token in self._special or not self.has(token):
            return b""
        if token not in self._found:
            self._found[token] = self._single_bytes.get(token) or self._decoded_behind_another(token)
        return self._found[token]

    def has(self, token: int) -> bool:
        """Whether the tokenizer has it: models often have more ids than their tokenizers have tokens."""
        return token in self._ids

    def is_single_byte(self, token: int) -> bool:
        """Whether it stands for a byte and goes into a run of such tokens; see `ByteRun`."""
        return token in self._single_bytes

    def interrupts(self, token: int) -> bool:
        """Control tokens of SentencePiece that transformers does not know as special: decoding is told of them."""
        return self.has(token) and token not in self._special and not self.piece(token)

    @cached_property
    def spares_characters(self) -> bool:
        """Whether a byte that is no UTF-8 leaves characters beside it as they are; see `ByteRun`."""
        mixed = [self._token_of_byte.get(byte, -1) for byte in b"a\xff"]
        return min(mixed) >= 0 and "a" in self.decode(mixed)

    def decode(self, tokens: Sequence[int]) -> str:
        text = self._decoded(tokens)
        return SPACE_BEFORE_CHARACTER.sub("", text) if self._separates_characters else text

    def _decoded(self, tokens: Sequence[int]) -> str:
        known = list(filter(self.has, tokens))
        return str(self._tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @cached_property
    def _separates_characters(self) -> bool:
        """Whether spaces stand between Chinese characters, as BERT's tokenizer has it: nobody writes them."""
        pair = [token for name, token in self._tokens.items() if CHARACTER.fullmatch(name)][:2]
        return len(pair) == 2 and " " in self._decoded(pair)

    def begin_text(self, prompt: list[int]) -> Text:
        """An empty text behind a prompt."""
        if not self._seem_to_join:
            return DecodedText(self.decode, prompt)
        return WrittenText(self, None if any(map(self.piece, prompt)) else self.opening)

    @cached_property
    def table(self) -> Pieces:
        """All of them.

        Raises:
            ValueError: what a token writes depends on the tokens around it.
        """
        if not (self._seem_to_join and self._join(self._shuffled)):
            raise ValueError(
                "bad_words cannot be kept with this model: what one of its tokens writes depends on the tokens "
                "around it; remove bad_words"
            )
        pieces = {token: self.piece(token) for token in self._ids}
        interrupting = filter(self.interrupts, self._ids)
        return Pieces(pieces, self._single_bytes, interrupting=interrupting, spares_characters=self.spares_characters)

    def _decoded_first(self, token: int) -> bytes:
        return self.decode([token]).encode("utf-8", "replace")

    def _decoded_behind_another(self, token: int) -> bytes:
        """Many tokenizers write no space before a text's first token."""
        return self.decode([*self._another, token])[self._another_length :].encode("utf-8", "replace")

    @cached_property
    def _another(self) -> list[int]:
        """A token that writes something that can be seen; none where there is none."""
        plain = (token for token in sorted(self._ids) if not self.is_single_byte(token))
        return next(([token] for token in plain if self.decode([token]).strip().strip(REPLACEMENT)), [])

    @cached_property
    def _another_length(self) -> int:
        return len(self.decode(self._another))

    @cached_property
    def _single_bytes(self) -> dict[int, bytes]:
        named = ((name, BYTE_TOKEN.fullmatch(name), token) for name, token in self._tokens.items())
        return {
            token: bytes([int(byte[1], 16)])
            for name, byte, token in named
            if byte and token not in self._special and self.decode([token]) != name
        }

    @property
    def _token_of_byte(self) -> dict[int, int]:
        return {byte[0]: token for token, byte in self._single_bytes.items()}

    @cached_property
    def _seem_to_join(self) -> bool:
        """Whether decoding tokens joins their pieces, as far as trying some shows."""
        token_of = self._token_of_byte
        runs = [[token_of[byte] for byte in run] for run in TRIED_RUNS if token_of.keys() >= set(run)]
        return all(map(self._join, [*runs, self._shuffled[:TRIED_TOKENS]]))

    @property
    def _shuffled(self) -> list[int]:
        return sorted(self._ids, key=lambda token: token * 2654435761 % 2**32)  # Knuth's hash

    def _join(self, tokens: list[int]) -> bool:
        """Whether decoding these joins their pieces, at a text's start and behind another token."""
        start, tokens = self._another, [*tokens, *self._another]  # the last one ends what is unfinished
        behind = self.decode([*start, *tokens])[self._another_length :]
        return self._joined(tokens, self.opening) == _stored(self.decode(tokens)) and (
            self._joined(tokens, None) == _stored(behind)
        )

    def _joined(self, tokens: list[int], opening: Callable[[int], bytes] | None) -> str:
        text = WrittenText(self, opening)
        for token in tokens:
            text.append(token)
        return text.finished()


class ByteLevelPieces(TokenPieces):
    """Those of a byte-level tokenizer: names say which bytes they stand for."""

    def __init__(self, tokenizer: Any, special: frozenset[int], size: int) -> None:
        super().__init__(tokenizer, special, size)
        self.opening = None
        values = _byte_values()
        for name, token in self._tokens.items():
            plain = values.keys() >= set(name)  # decoding takes any other name as it is
            self._found[token] = bytes(map(values.__getitem__, name)) if plain else name.encode()

    def _decoded_behind_another(self, token: int) -> bytes:
        return b""

    @cached_property
    def _single_bytes(self) -> dict[int, bytes]:
        return {}  # every token's bytes may be parts of characters


def has_every_byte(names: set[str]) -> bool:
    """Whether a byte-level tokenizer with tokens of these names can write any text."""
    return names >= _byte_values().keys()


def _stored(text: str) -> str:
    """A text as databases can have it."""
    return text.replace("\0", REPLACEMENT)


def _byte_values() -> dict[str, int]:
    """The byte that each of GPT-2's printable characters stands for: `bytes_to_unicode` of its encoder.py, inverted."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
