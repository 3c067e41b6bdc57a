"""A text in windows has the tokens that it has as a whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import producer.corpus.tokens.long_text as long_text
from producer.corpus.tokens.long_text import LongText
from producer.corpus.tokens.tokenizer import CorpusTokenizer
from worker.demo import GPT2_DIR

WORDS = [
    "sea",
    "the",
    "harbour",
    "Captain",
    "Okafor's",
    "1,024",
    "naïve",
    "über",
    "海は広い",
    "🌊🌊",
    "\n",
    "\n\n",
    "  ",
    "…",
]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_text, "WINDOW", 400)
    monkeypatch.setattr(long_text, "OVERLAP", 120)
    monkeypatch.setattr(long_text, "WINDOWS_AT_ONCE", 3)


def prose(seed: int, words: int) -> str:
    drawn = random.Random(seed)
    return "".join(drawn.choice(WORDS) + drawn.choice([" ", " ", " ", ", ", ".\n"]) for _ in range(words))


def in_windows(tokenizer: CorpusTokenizer, text: str, seed: int) -> list[int]:
    drawn, taken, found, place = random.Random(seed), LongText(tokenizer), list[int](), 0
    while place < len(text):
        size = drawn.choice([1, 50, 399, 400, 401, 2000])
        for tokens in taken.add(text[place : place + size]):
            found += tokens
        place += size
    for tokens in taken.finish():
        found += tokens
    return found


def with_spaces_before_words(folder: Path) -> CorpusTokenizer:
    """A tokenizer that puts a space before every text, as Llama's does."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator([prose(seed, 300) for seed in range(8)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return CorpusTokenizer(folder, "</s>")


@pytest.mark.parametrize("length", [0, 1, 100, 400, 401, 520, 521, 3000, 20_000])
def test_the_tokens_are_those_of_the_whole_text(length: int) -> None:
    tokenizer = CorpusTokenizer(GPT2_DIR)
    for seed in range(4):
        text = prose(seed, 5000)[:length]
        assert in_windows(tokenizer, text, seed) == tokenizer.encode([text])[0]


def test_a_space_that_a_tokenizer_puts_before_texts_stands_at_the_beginning_alone(tmp_path: Path) -> None:
    tokenizer = with_spaces_before_words(tmp_path)
    text = prose(7, 3000)
    assert in_windows(tokenizer, text, 7) == tokenizer.encode([text])[0]


@pytest.mark.parametrize("text", ["ab" * 5000, "a" * 5001, "🌊" * 3000, " " * 5000, "x" * 777 + " " + "y" * 777])
def test_a_word_without_end_loses_nothing(text: str) -> None:
    tokenizer = CorpusTokenizer(GPT2_DIR)
    plain = Tokenizer.from_file(str(GPT2_DIR / "tokenizer.json"))
    assert plain.decode(in_windows(tokenizer, text, 3), skip_special_tokens=False) == text
