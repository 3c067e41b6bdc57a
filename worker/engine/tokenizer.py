"""Texts to token ids, and token ids to bytes.

Wraps a transformers tokenizer. Nothing is loaded here, and torch is not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from worker.engine.pieces import Pieces

END_OF_TEXT = "<|endoftext|>"
BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
"""How SentencePiece names a token that stands for a byte."""


class Vocabulary:
    """What the engines need of a tokenizer.

    Prompts begin with the token that the tokenizer itself begins texts with, where it does: models such as Llama and
    Gemma were trained so. No other special token is added; GPT-2's tokenizer adds none.
    """

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.eos = _eos(tokenizer, config)
        self._start = self._start_token(config)
        self._special_names = _special_names(tokenizer)
        self._special = frozenset(self._special_names.values())
        self._model_tokens = int(config.vocab_size)
        self._example = self._tokens("a")
        self._example_length = len(self.decode(self._example))
        example = list(tokenizer("a", verbose=False)["input_ids"])
        self.prefix = example[:1] if example[0] == tokenizer.bos_token_id != self._example[0] else []

    def encode(self, prompt: str) -> list[int]:
        """The prompt's tokens, never none: an empty prompt means the end-of-text token.

        Raises:
            ValueError: the prompt is no valid text, or is empty where the model has no token to start from.
        """
        tokens = self.prefix + self._tokens(prompt)
        if tokens:
            return tokens
        if self._start is None:
            raise ValueError("the prompt is empty, and this model has no end-of-text token to start from")
        return [self._start]

    @cached_property
    def pieces(self) -> Pieces:
        """The bytes that each token adds to a text, of those that the model has."""
        tokens = set(self.tokenizer.get_vocab().values())
        return Pieces({token: self.piece(token) for token in tokens if token < self._model_tokens})

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text: none for special tokens and for ids without a token.

        Here found by decoding it behind another one: many tokenizers write a token differently at a text's start.
        """
        if token in self._special:
            return b""
        name = str(self.tokenizer.convert_ids_to_tokens(token))
        if (byte := BYTE_TOKEN.fullmatch(name)) and self.decode([token]) != name:
            return bytes([int(byte[1], 16)])
        return self.decode([*self._example, token])[self._example_length :].encode("utf-8", "replace")

    def decode(self, tokens: list[int]) -> str:
        """The text that tokens write, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def special(self, texts: Iterable[str]) -> frozenset[int]:
        """The special tokens among texts."""
        return frozenset(self._special_names[text] for text in texts if text in self._special_names)

    def fewest_tokens(self, text: str) -> int:
        """How many tokens `text` has at least, without tokenising it; 0 where its length proves nothing."""
        return 0

    def shown(self, token: int) -> str:
        """A token as `logprobs` shows it."""
        name = self.tokenizer.convert_ids_to_tokens(token)
        return f"token:{token}" if name is None else str(name).replace("\0", "\ufffd")

    def _tokens(self, text: str) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{text[:40]!r} has half of a surrogate pair at character {error.start}; remove it"
            ) from None
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _start_token(self, config: Any) -> int | None:
        end_of_text = self.tokenizer.get_vocab().get(END_OF_TEXT)
        candidates = (end_of_text, config.bos_token_id, self.tokenizer.bos_token_id, *sorted(self.eos))
        return next(iter(_within_vocabulary(candidates, config)), None)


class ByteVocabulary(Vocabulary):
    """A byte-level BPE vocabulary, GPT-2's: every token stands for bytes."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        super().__init__(tokenizer, config)
        self._pieces: dict[int, bytes] = {}
        added = tokenizer.added_tokens_decoder
        values = _byte_values()
        for name, token in tokenizer.get_vocab().items():
            if token in added or not values.keys() >= set(name):
                self._pieces[token] = str(added[token].content if token in added else name).encode("utf-8")
            else:
                self._pieces[token] = bytes(map(values.__getitem__, name))
        self._longest = max(map(len, self._pieces.values())) if _keeps_every_byte(tokenizer) else None

    def fewest_tokens(self, text: str) -> int:
        if self._longest is None:
            return 0
        return -(-len(text.encode("utf-8", "surrogatepass")) // self._longest)

    def piece(self, token: int) -> bytes:
        return b"" if token in self._special else self._pieces.get(token, b"")

    def shown(self, token: int) -> str:
        """The token's text; where its bytes are no text, `bytes:` and what they are, as OpenAI's API does."""
        piece = self._pieces.get(token)
        if piece is None:
            return f"token:{token}"
        try:
            if b"\0" not in piece:
                return piece.decode("utf-8")
        except UnicodeDecodeError:
            pass
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def is_byte_level(tokenizer: Any) -> bool:
    """Whether a tokenizer is a byte-level BPE."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    parts = json.loads(backend.to_str())
    decoder = parts.get("decoder") or {}
    return decoder.get("type") == "ByteLevel" and parts["model"]["type"] == "BPE"


def _keeps_every_byte(tokenizer: Any) -> bool:
    """Whether the tokens of every text stand for all of its bytes, and for no others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return (
        backend is not None
        and backend.normalizer is None
        and backend.truncation is None
        and type(backend.pre_tokenizer).__name__ == "ByteLevel"  # others may drop what they split at
        and not any(token.lstrip or token.rstrip for token in tokenizer.added_tokens_decoder.values())
        and tokenizer.get_vocab().keys() >= _byte_values().keys()
    )


def _byte_values() -> dict[str, int]:
    """The byte that each of GPT-2's printable characters stands for: `bytes_to_unicode` of its encoder.py, inverted."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _special_names(tokenizer: Any) -> dict[str, int]:
    """The tokens that decoding leaves out, by how they are written."""
    added = {entry.content: token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return added | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))


def _eos(tokenizer: Any, config: Any) -> frozenset[int]:
    """The end-of-text tokens: the configuration's, else the tokenizer's."""
    for declared in (config.eos_token_id, tokenizer.eos_token_id):
        known = _within_vocabulary(declared, config)
        if known:
            return frozenset(known)
    return frozenset()


def _within_vocabulary(declared: Any, config: Any) -> list[int]:
    """The declared ids that the model has: GPT2Config's default is 50256 even where the vocabulary is smaller."""
    ids = declared if isinstance(declared, list | tuple) else [declared]
    return [int(token) for token in ids if token is not None and 0 <= int(token) < config.vocab_size]
