"""Tiny random classifiers in Detoxify's own layout, one for each architecture that Detoxify publishes."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

ARCHITECTURES = ("Bert", "Albert", "Roberta", "XLMRoberta")
ORIGINAL = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
IDENTITIES = 9  # columns of the unbiased classifiers that have no class
POSITIONS = 32

_WORDS = ("you", "are", "a", "nice", "bad", "awful", "cat", "on", "the", "mat", "fool", "!", ".")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    """(folder, architecture, classes) -> the file."""
    return _write_checkpoint


@pytest.fixture(scope="session")
def reference_model() -> Callable[..., Any]:
    """(configuration folder, architecture, classes) -> the model itself, built without Detoxify."""
    return _reference_model


def _write_checkpoint(folder: Path, architecture: str, classes: Sequence[str] = ORIGINAL) -> Path:
    """A checkpoint file and, in a folder beside it, its base configuration and tokenizer; gives the file."""
    configuration = folder / "tiny"
    vocabulary = _write_configuration(configuration, architecture)
    weights = _reference_model(configuration, architecture, classes).state_dict()
    prefix = "roberta" if "Roberta" in architecture else architecture.lower()
    # Published checkpoints carry this buffer of older transformers.
    weights[f"{prefix}.embeddings.position_ids"] = torch.arange(POSITIONS).expand(1, -1)
    arguments = {
        "num_classes": _outputs(classes),
        "model_type": f"example/{vocabulary}-tokens",
        "model_name": f"{architecture}ForSequenceClassification",
        "tokenizer_name": f"{architecture}Tokenizer",
    }
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": list(classes)}}}
    torch.save({"state_dict": OrderedDict(weights), "config": config}, folder / "tiny.ckpt")
    return folder / "tiny.ckpt"


def _reference_model(configuration: Path, architecture: str, classes: Sequence[str]) -> Any:
    """Its weights are drawn wide, so that texts score differently."""
    labels = _outputs(classes)
    config = getattr(transformers, f"{architecture}Config").from_pretrained(configuration, num_labels=labels)
    model = getattr(transformers, f"{architecture}ForSequenceClassification")(config)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model.eval()


def _outputs(classes: Sequence[str]) -> int:
    return len(classes) + (IDENTITIES if "sexual_explicit" in classes else 0)


def _write_configuration(folder: Path, architecture: str) -> int:
    """config.json, with two labels as every base configuration has, and a tokenizer; gives its size."""
    folder.mkdir()
    size = {"Bert": _wordpiece, "Roberta": _bytes}.get(architecture, _unigram)(folder, architecture)
    sizes: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        # RoBERTa's positions begin after the padding token's.
        "max_position_embeddings": POSITIONS + (2 if "Roberta" in architecture else 0),
    }
    if architecture == "Albert":
        sizes["embedding_size"] = 8
    getattr(transformers, f"{architecture}Config")(**sizes).save_pretrained(folder)
    return size


def _wordpiece(folder: Path, _: str) -> int:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokens = [*special, *_WORDS, *_LETTERS[1:], *("##" + letter for letter in _LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return len(tokens)


def _bytes(folder: Path, _: str) -> int:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet, "<mask>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return len(vocabulary)


def _unigram(folder: Path, architecture: str) -> int:
    roberta = architecture == "XLMRoberta"
    special = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*("▁" + word for word in _WORDS), *_LETTERS, "▁"]
    scored = [(token, 0.0) for token in special] + [(piece, -1.0 - len(pieces) / 9) for piece in pieces]
    if roberta:
        scored.append(("<mask>", 0.0))
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(scored)
