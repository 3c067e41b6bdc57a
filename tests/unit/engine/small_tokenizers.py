"""Small tokenizers of every kind that models come with, as the libraries make and read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sentencepiece import SentencePieceTrainer
from tiny_models import SENTENCES
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizerFast, GPTSw3Tokenizer, PreTrainedTokenizerFast

from worker.engine.tokenizer import Vocabulary, vocabulary_of

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def byte_level() -> Any:
    backend = make_backend(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(SENTENCES * 3, trainer)
    return wrapped(backend, added=["<tool>", "naïve", "a b", "東京"])


def llama() -> Any:
    """BPE as SentencePiece's: what it has no token for is written as bytes, and texts begin with a space."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return trained(backend, trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False))


def gemma() -> Any:
    """The same, and no space before texts."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return trained(backend, trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False))


def unigram() -> Any:
    """Unigram with bytes."""
    pieces = [*SPECIAL, *BYTES, "▁", "▁the", "▁mill", "er", "s", "t", "h", "e", "n", "▁t", "東", ".", "é", "\ufffd"]
    backend = Tokenizer(models.Unigram([(piece, -2.0) for piece in pieces], unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return wrapped(backend)


def metaspace() -> Any:
    """Unigram without bytes, T5's."""
    backend = make_backend(models.Unigram(), pre_tokenizers.Metaspace(), decoders.Metaspace())
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(SENTENCES * 3, trainer)
    return wrapped(backend)


def wordpiece(folder: Path) -> Any:
    """BERT's, which the usual Chinese GPT-2 has."""
    characters = sorted(set("".join(SENTENCES).lower()) - set(" \n"))
    words = [
        "the",
        "mill",
        "##er",
        "##s",
        "##n't",
        "do",
        "not",
        "n't",
        "'s",
        "你",
        "好",
        "吗",
        "##好",
        "##the",
        "\ufffd",
    ]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(names)), "utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"))


def words_with_spaces_between() -> Any:
    """No decoder at all: tokens are words."""
    names = [*SPECIAL, "the", "mill", "miller", "river", "a", "."]
    return wrapped(
        make_backend(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"), pre_tokenizers.Whitespace())
    )


def word_ends() -> Any:
    """GPT-1's: a token at a word's end writes a space, but for the text's last one."""
    backend = make_backend(models.BPE(end_of_word_suffix="</w>"), pre_tokenizers.Whitespace(), decoders.BPEDecoder())
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(SENTENCES * 3, trainer)
    return wrapped(backend)


def sentencepiece(folder: Path) -> Any:
    """SentencePiece's own code, which GPT-SW3 is read by: it writes characters beside bytes that are none."""
    (folder / "sentences.txt").write_text("\n".join(SENTENCES * 30), "utf-8")
    SentencePieceTrainer.train(
        input=str(folder / "sentences.txt"), model_prefix=str(folder / "own"), vocab_size=360, byte_fallback=True,
        character_coverage=0.98, model_type="bpe", pad_id=0, unk_id=1, bos_id=2, eos_id=3, minloglevel=2,
    )  # fmt: skip
    return GPTSw3Tokenizer(str(folder / "own.model"), name_or_path="own")


def make_backend(model: Any, pre_tokenizer: Any, decoder: Any = None) -> Tokenizer:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        backend.decoder = decoder
    return backend


def trained(backend: Tokenizer, trainer: Any) -> Any:
    backend.train_from_iterator(SENTENCES[:2] * 3, trainer)
    backend.add_tokens(BYTES)
    return wrapped(backend)


def wrapped(backend: Tokenizer, added: list[str] | None = None) -> Any:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **NAMES)
    tokenizer.add_tokens(added or [])
    return tokenizer


def made_vocabulary(kind: str, folder: Path) -> Vocabulary:
    """That of a model which has three more ids than its tokenizer has tokens."""
    tokenizer = make(kind, folder)
    config = SimpleNamespace(
        vocab_size=len(tokenizer) + 3, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id
    )
    return vocabulary_of(tokenizer, config)


JOINING: dict[str, Callable[..., Any]] = {
    "byte-level": byte_level,
    "llama": llama,
    "gemma": gemma,
    "unigram": unigram,
    "metaspace": metaspace,
    "wordpiece": wordpiece,
    "words": words_with_spaces_between,
    "sentencepiece": sentencepiece,
}
"""Tokenizers whose tokens write the same beside whatever other tokens."""


def make(kind: str, folder: Path) -> Any:
    maker = (JOINING | {"word-ends": word_ends})[kind]
    return maker(folder) if maker in (wordpiece, sentencepiece) else maker()
