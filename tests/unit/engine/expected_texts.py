"""The text of tokens: what transformers decodes, but for an unfinished character at the end, and BERT's spaces."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import product, takewhile

from worker.engine.tokenizer import ByteVocabulary, Vocabulary

CONTINUATIONS = [bytes(rest) for count in (1, 2, 3) for rest in product((0x80, 0x90, 0xA0), repeat=count)]


def expected_text(vocabulary: Vocabulary, prompt: list[int], tokens: list[int]) -> str:
    """What is to be stored of tokens behind a prompt."""
    pieces = vocabulary.pieces
    tokens = [token for token in tokens if token < len(vocabulary.tokenizer)]
    written = [token for token in tokens if pieces.piece(token)]
    if isinstance(vocabulary, ByteVocabulary):
        text = decoded(vocabulary, tokens)
        text = text[:-1] if unfinished(b"".join(map(pieces.piece, written))) else text
    else:
        heard = [token for token in tokens if pieces.piece(token) or pieces.interrupts(token)]
        run = [*takewhile(pieces.is_single_byte, reversed(heard))][::-1]
        for _ in range(unfinished(b"".join(map(pieces.piece, run)))):
            del tokens[max(place for place, token in enumerate(tokens) if pieces.is_single_byte(token))]
        text = behind(vocabulary, prompt, tokens)
    return text.replace("\0", "\ufffd")


def behind(vocabulary: Vocabulary, prompt: list[int], tokens: list[int]) -> str:
    return decoded(vocabulary, [*prompt, *tokens])[len(decoded(vocabulary, prompt)) :]


def decoded(vocabulary: Vocabulary, tokens: list[int]) -> str:
    text = str(vocabulary.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return re.sub(" (?=[\u4e00-\u9fff])", "", text) if "##好" in vocabulary.tokenizer.get_vocab() else text


def unfinished(content: bytes) -> int:
    """How many bytes at the end begin a character: those that some bytes make one."""
    for count in range(min(3, len(content)), 0, -1):
        for rest in CONTINUATIONS:
            with suppress(UnicodeDecodeError):
                if len((content[-count:] + rest).decode()) == 1:
                    return count
    return 0
