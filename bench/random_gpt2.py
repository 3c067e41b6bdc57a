"""GPT-2 124M with random weights, and a byte-level tokenizer of GPT-2's size in which every word is one token.

`python -m bench.random_gpt2 FOLDER` writes the checkpoint. Nothing is fetched, and nothing is known of engines.
"""

from __future__ import annotations

import sys
from itertools import islice, product
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 50_257
CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxyz", "aeiou"
SPACE = "Ġ"  # what a byte-level vocabulary writes for a space


def main() -> None:
    (folder,) = map(Path, sys.argv[1:])
    write_checkpoint(folder)


def write_checkpoint(folder: Path) -> None:
    """Writes configuration, weights (safetensors, float32) and tokenizer as transformers does."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(initializer_range=0.05, vocab_size=VOCABULARY))
    model.save_pretrained(folder)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Writes the tokenizer alone as transformers does."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(), eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, unk_token=END_OF_TEXT
    )
    tokenizer.save_pretrained(folder)


def words() -> list[str]:
    """The tokens that are words, by id, a space before each: one to three syllables.

    A text of these alone has one token a word, and the ids it was made of.
    """
    _, merges = _pieces()
    return [token.replace(SPACE, " ") for token in map("".join, merges) if token.startswith(SPACE)]


def first_word() -> int:
    """The id of the first of `words`; theirs are the ids from there to the last but the end of text."""
    bytes_, merges = _pieces()
    return len(bytes_) + next(at for at, (left, _) in enumerate(merges) if left == SPACE)


def byte_level_tokenizer() -> Any:
    """The tokenizer alone, as the `tokenizers` library has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    bytes_, merges = _pieces()
    vocabulary = {token: number for number, token in enumerate([*bytes_, *map("".join, merges), END_OF_TEXT])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _pieces() -> tuple[list[str], list[tuple[str, str]]]:
    """The vocabulary's bytes, and the merges that make its other tokens, in the order of their ids."""
    from tokenizers.pre_tokenizers import ByteLevel

    bytes_ = sorted(ByteLevel.alphabet())
    syllables = list(product(CONSONANTS, VOWELS))
    sounds = ["".join(syllable) for syllable in syllables]
    one = [(SPACE, sound) for sound in sounds]
    two = list(product(map("".join, one), sounds))
    three = product(map("".join, two), sounds)
    merges = [*syllables, *one, *two]
    return bytes_, [*merges, *islice(three, VOCABULARY - 1 - len(bytes_) - len(merges))]


if __name__ == "__main__":
    main()
