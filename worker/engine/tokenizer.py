"""Texts to token ids, and token ids to bytes.

Wraps a transformers tokenizer. Nothing is loaded here, and torch is not known.
"""

from __future__ import annotations

import json
from typing import Any

END_OF_TEXT = "<|endoftext|>"


class Vocabulary:
    """What the engines need of a tokenizer.

    Prompts begin with the token that the tokenizer itself begins texts with, where it does: models such as Llama and
    Gemma were trained so. No other special token is added; GPT-2's tokenizer adds none.
    """

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.eos = _eos(tokenizer, config)
        self._start = self._start_token(config)
        self._special = frozenset(tokenizer.all_special_ids)
        example = list(tokenizer("a", verbose=False)["input_ids"])
        self._prefix = example[:1] if example[0] == tokenizer.bos_token_id != self._tokens("a")[0] else []

    def encode(self, prompt: str) -> list[int]:
        """The prompt's tokens, never none: an empty prompt means the end-of-text token.

        Raises:
            ValueError: the prompt is no valid text, or is empty where the model has no token to start from.
        """
        tokens = self._prefix + self._tokens(prompt)
        if tokens:
            return tokens
        if self._start is None:
            raise ValueError("the prompt is empty, and this model has no end-of-text token to start from")
        return [self._start]

    def banned(self, word: str) -> list[tuple[int, ...]]:
        """The token sequences that write `word`: at the start of a text and after a space."""
        spellings = {tuple(self._tokens(text)) for text in (word, f" {word}")}
        ends = {(token,) for token in self.eos}  # as in transformers, the end of text cannot be banned
        return sorted(tokens for tokens in spellings - ends if tokens)

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
        """The bytes that a token adds to the text: none for special tokens and for ids without a token."""
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
