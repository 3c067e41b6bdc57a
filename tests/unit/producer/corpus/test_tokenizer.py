"""Tokenizers of every kind of folder: their end-of-text token, the one before texts, and what cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from contract.errors import ModelUnavailable, UsageError
from producer.corpus.tokens.tokenizer import CorpusTokenizer, find_tokenizer
from tests.unit.producer.corpus.conftest import Prepared, jsonl
from worker.demo import GPT2_DIR

Prepare = Callable[..., Prepared]
WORDS = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "[UNK]": 4, "<end>": 5}


def word_model(folder: Path, *, config: dict[str, Any] | None = None, starts: bool = False, words: int = 0) -> Path:
    """A folder with a tokenizer that knows two words."""
    folder.mkdir()
    vocabulary = WORDS | {f"word{number}": len(WORDS) + number for number in range(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>", "</s>", "<end>"])
    if starts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"eos_token_id": 1}, 1), ({"eos_token_id": [5, 1]}, 5), ({"text_config": {"eos_token_id": 1}}, 1)],
)
def test_documents_end_with_the_token_at_which_the_model_ends(tmp_path: Path, config: Any, expected: int) -> None:
    assert CorpusTokenizer(word_model(tmp_path / "m", config=config)).end_of_text == expected


def test_a_tokenizer_without_an_end_of_text_token_says_so_and_takes_one(tmp_path: Path) -> None:
    folder = word_model(tmp_path / "m", config={"eos_token_id": 50256})  # GPT-2's default, beyond the vocabulary
    with pytest.raises(UsageError, match=r"names no end-of-text token.*--end-of-text TOKEN"):
        CorpusTokenizer(folder)
    with pytest.raises(UsageError, match=r"--end-of-text '<e>': is no token"):
        CorpusTokenizer(folder, "<e>")
    assert CorpusTokenizer(folder, "<end>").end_of_text == 5


def test_documents_begin_with_the_token_that_every_text_begins_with(prepare: Prepare, tmp_path: Path) -> None:
    model = word_model(tmp_path / "m", config={"eos_token_id": 1}, starts=True)
    rows = [{"text": "a b"}, {"prompt": "a", "completion": " b b"}, {"text": "<s> b"}]
    prepared = prepare({"t.jsonl": jsonl(rows)}, model=model, validation=0.0)
    assert prepared.corpus.train.tokens.tolist() == [0, 2, 3, 1, 0, 2, 3, 3, 1, 0, 3, 1]
    assert prepared.corpus.train.loss is not None
    assert prepared.corpus.train.loss.tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_large_vocabulary_takes_four_bytes_a_token(prepare: Prepare, tmp_path: Path) -> None:
    model = word_model(tmp_path / "m", config={"eos_token_id": 1}, words=70_000)
    corpus = prepare("word69999 a", model=model, validation=0.0).corpus
    assert corpus.train.tokens.dtype.itemsize == 4 and corpus.vocabulary == 70_006
    assert corpus.train.tokens.tolist() == [70_005, 2, 1]


def test_a_vocabulary_with_its_merges_is_the_same_tokenizer(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt", "config.json"):
        shutil.copy(GPT2_DIR / name, tmp_path / name)
    old, new = CorpusTokenizer(tmp_path), CorpusTokenizer(GPT2_DIR)
    texts = ["The sea, the harbour's  lamp.\n\n", " Ümlaute 海 🌊", "<|endoftext|>"]
    assert old.encode(texts) == new.encode(texts)
    assert (old.end_of_text, old.vocabulary) == (new.end_of_text, new.vocabulary)


def test_the_hash_of_a_tokenizer_is_that_of_its_files(tmp_path: Path) -> None:
    folder = word_model(tmp_path / "m", config={"eos_token_id": 1})
    before = CorpusTokenizer(folder).digest()
    (folder / "model.safetensors").write_bytes(b"weights")
    assert CorpusTokenizer(folder).digest() == before
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert CorpusTokenizer(folder).digest() != before


def test_a_folder_without_a_tokenizer_is_told_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no tokenizer\.json here.*save_pretrained"):
        find_tokenizer(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"sentencepiece's own")
    with pytest.raises(UsageError, match=r"has no tokenizer\.json here"):
        find_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="the tokenizer cannot be read"):
        CorpusTokenizer(find_tokenizer(tmp_path))


def test_a_model_in_the_cache_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    cached = tmp_path / "models--nobody--words"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    folder = word_model(cached / "snapshots" / commit, config={"eos_token_id": 1})
    assert find_tokenizer("nobody/words") == folder


def test_a_tokenizer_that_cannot_be_fetched_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="is not on this machine and cannot be fetched"):
        find_tokenizer("nobody/has-this-model")
