"""Texts to token ids, and token ids to bytes.

Wraps a transformers tokenizer. Nothing is loaded here, and torch is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from worker.engine.text.byte_run import REPLACEMENT
from worker.engine.text.pieces import Pieces
from worker.engine.text.token_pieces import ByteLevelPieces, TokenPieces, has_every_byte
from worker.engine.text.written import Text

END_OF_TEXT = "<|endoftext|>"
ANSWER = "answer"
"""Stands for a model's answer where only what follows it is wanted."""


class Vocabulary:
    """What the engines need of a tokenizer.

    Prompts begin with the token that the tokenizer itself begins texts with, where it does: models such as Llama and
    Gemma were trained so. No other special token is added; GPT-2's tokenizer adds none.
    """

    _kind_of_pieces = TokenPieces

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.eos = _eos(tokenizer, config)
        self._start = self._start_token(config)
        self._special_names = _special_names(tokenizer)
        special = frozenset(self._special_names.values())
        self._pieces = self._kind_of_pieces(tokenizer, special, int(config.vocab_size))
        self.prefix = self._start_of_every_text()

    def encode(self, prompt: str, *, chat: bool = False) -> list[int]:
        """The prompt's tokens, never none: an empty prompt means the end-of-text token.

        Args:
            chat: the model's chat template made it, and it brings along the token that texts start with.

        Raises:
            ValueError: the prompt is no valid text, or is empty where the model has no token to start from.
        """
        tokens = self.tokens(prompt) if chat else self.prefix + self.tokens(prompt)
        if tokens:
            return tokens
        if self._start is None:
            raise ValueError("the prompt is empty, and this model has no end-of-text token to start from")
        return [self._start]

    def tokens(self, text: str) -> list[int]:
        """A text's own tokens, none of them put before it.

        Raises:
            ValueError: it is no valid text.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{text[:40]!r} has half of a surrogate pair at character {error.start}; remove it"
            ) from None
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @property
    def pieces(self) -> Pieces:
        """The bytes that each token adds to a text, of those that the model has.

        Raises:
            ValueError: they depend on the tokens around it.
        """
        return self._pieces.table

    def begin_text(self, prompt: list[int]) -> Text:
        """The text behind a prompt, with nothing in it yet."""
        return self._pieces.begin_text(prompt)

    @cached_property
    def turn_ends(self) -> frozenset[int]:
        """The special token that the chat template puts behind an answer, if it does: texts of a chat end there.

        A model's configuration need not name it: Gemma's names `<eos>` alone, and answers end in `<end_of_turn>`.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            return frozenset()
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ANSWER}]
        try:
            behind = str(self.tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(ANSWER)[2].lstrip()
        except Exception:  # whatever the template's code raises: it says so again of the user's own messages
            return frozenset()
        return frozenset(self.tokens(behind)[:1]).intersection(self._special_names.values())

    def special(self, texts: Iterable[str]) -> frozenset[int]:
        """The special tokens among texts."""
        return frozenset(self._special_names[text] for text in texts if text in self._special_names)

    def fewest_tokens(self, text: str) -> int:
        """How many tokens `text` has at least, without tokenising it; 0 where its length proves nothing."""
        return 0

    def shown(self, token: int) -> str:
        """A token as `logprobs` shows it."""
        if not self._pieces.has(token):
            return f"token:{token}"
        return str(self.tokenizer.convert_ids_to_tokens(token)).replace("\0", REPLACEMENT)

    def _start_of_every_text(self) -> list[int]:
        """The token that the tokenizer puts before texts, where it does."""
        alone, whole = self.tokens("a"), list(self.tokenizer("a", verbose=False)["input_ids"])
        return whole[:1] if whole[:1] == [self.tokenizer.bos_token_id] != alone[:1] else []

    def _start_token(self, config: Any) -> int | None:
        end_of_text = self.tokenizer.get_vocab().get(END_OF_TEXT)
        candidates = (end_of_text, config.bos_token_id, self.tokenizer.bos_token_id, *sorted(self.eos))
        return next(iter(_within_vocabulary(candidates, config)), None)


class ByteVocabulary(Vocabulary):
    """A byte-level vocabulary, GPT-2's: every token stands for bytes."""

    _kind_of_pieces = ByteLevelPieces

    def __init__(self, tokenizer: Any, config: Any) -> None:
        super().__init__(tokenizer, config)
        self._longest = _longest_token(tokenizer) if _keeps_every_byte(tokenizer) else None

    def fewest_tokens(self, text: str) -> int:
        if self._longest is None:
            return 0
        return -(-len(text.encode("utf-8", "surrogatepass")) // self._longest)

    def shown(self, token: int) -> str:
        """The token's text; where its bytes are no text, `bytes:` and what they are, as OpenAI's API does."""
        piece = self._pieces.piece(token)
        if not piece:  # a special token, or none
            return super().shown(token)
        try:
            if b"\0" not in piece:
                return piece.decode("utf-8")
        except UnicodeDecodeError:
            pass
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def vocabulary_of(tokenizer: Any, config: Any) -> Vocabulary:
    """The vocabulary of a tokenizer, of whatever kind, for a model with that configuration."""
    return (ByteVocabulary if _is_byte_level(tokenizer) else Vocabulary)(tokenizer, config)


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether a tokenizer's tokens stand for bytes, as GPT-2's do."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    return bool(decoder.get("type") == "ByteLevel")


def _keeps_every_byte(tokenizer: Any) -> bool:
    """Whether the tokens of every text stand for all of its bytes, and for no others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return (
        backend is not None
        and type(backend.model).__name__ == "BPE"  # others may read a long word as one token
        and backend.normalizer is None
        and backend.truncation is None
        and type(backend.pre_tokenizer).__name__ == "ByteLevel"  # others may drop what they split at
        and not any(token.lstrip or token.rstrip for token in tokenizer.added_tokens_decoder.values())
        and has_every_byte(set(tokenizer.get_vocab()))
    )


def _longest_token(tokenizer: Any) -> int:
    """The most bytes that one token stands for. Names have as many characters, but for added tokens'."""
    added = (len(token.content.encode("utf-8")) for token in tokenizer.added_tokens_decoder.values())
    return max(*map(len, tokenizer.get_vocab()), *added)


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
