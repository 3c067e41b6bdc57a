"""Trains the demonstration classifier: a tiny BERT in Detoxify's checkpoint layout, with its WordPiece.

Six sigmoid labels, learned from fragments whose labels are certain by construction (fragments.py).
"""

import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from tools.demo_models.fragments import LABELS, Fragment, held_out_fragment, training_fragment

TRAIN_SEED, HELD_OUT_SEED = 3, 4
TRAIN_FRAGMENTS, HELD_OUT_FRAGMENTS = 32_000, 4000
VOCABULARY, POSITIONS, THRESHOLD = 2500, 512, 0.7
EPOCHS, BATCH, PEAK_RATE = 3, 32, 1e-3
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FOREIGN = re.compile("[\u4e00-\u9fff]")

Figures = dict[str, Any]


def train(folder: Path) -> Figures:
    """Writes config, tokenizer and `demo.ckpt` into `folder`; returns precision and recall per label."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    rng = random.Random(TRAIN_SEED)  # noqa: S311
    fragments = [training_fragment(rng) for _ in range(TRAIN_FRAGMENTS)]
    tokenizer = train_tokenizer([fragment.text for fragment in fragments], folder)
    torch.manual_seed(TRAIN_SEED)
    model = BertForSequenceClassification(_config(tokenizer))
    fit(model, tokenizer, fragments, rng)
    save(model, folder)
    rng = random.Random(HELD_OUT_SEED)  # noqa: S311
    labels = evaluate(model, tokenizer, [held_out_fragment(rng) for _ in range(HELD_OUT_FRAGMENTS)])
    return {
        "labels": labels,
        "fragments": HELD_OUT_FRAGMENTS,
        "parameters": model.num_parameters(),
        "minutes": (time.monotonic() - started) / 60,
    }


def train_tokenizer(texts: list[str], folder: Path) -> Any:
    """A WordPiece vocabulary of characters and whole words: single letters spell what is not in it.

    Counted here, for the WordPiece trainer of tokenizers numbers its pieces differently in every process.
    """
    counts = _word_counts(texts)
    characters = sorted({character for word in counts for character in word})
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    pieces += words[: VOCABULARY - len(pieces)]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS).save_pretrained(folder)
    return BertTokenizer.from_pretrained(folder)


def _word_counts(texts: list[str]) -> Counter[str]:
    """Normalised words seen 5 times or more; the nonsense's foreign characters are there to stay unknown."""
    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    return Counter({w: n for w, n in counts.items() if n >= 5 and not FOREIGN.search(w)})


def _config(tokenizer: Any) -> BertConfig:
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=192, max_position_embeddings=POSITIONS, pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.06,
    )  # fmt: skip
    config.problem_type = "multi_label_classification"
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: number for number, label in enumerate(LABELS)}
    return config


def fit(model: Any, tokenizer: Any, fragments: list[Fragment], rng: random.Random) -> None:
    steps = EPOCHS * (len(fragments) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        if step % (steps // EPOCHS) == 0:
            batches = _batches(fragments, rng)
        batch = batches.pop()
        inputs = _encode(tokenizer, [fragment.text for fragment in batch])
        targets = torch.tensor([fragment.targets for fragment in batch])  # [batch, labels]
        loss = model(**_disturbed(inputs, tokenizer, rng), labels=targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"classifier step {step:5d}  loss {loss.item():.4f}", flush=True)
    model.eval()


def _batches(fragments: list[Fragment], rng: random.Random) -> list[list[Fragment]]:
    """Batches of fragments of like length, in random order: little is padded."""
    order = sorted(fragments, key=lambda fragment: len(fragment.text) + 20 * rng.random())
    batches = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
    rng.shuffle(batches)
    return batches


def _encode(tokenizer: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(tokenizer(texts, return_tensors="pt", truncation=True, padding=True))


def _disturbed(inputs: dict[str, torch.Tensor], tokenizer: Any, rng: random.Random) -> dict[str, torch.Tensor]:
    """In long texts 1 % of the pieces become unknown; half the batches start at a later position.

    No fragment is 512 pieces long, and yet every position must have learned something.
    """
    ids = inputs["input_ids"]  # [batch, pieces]
    lost = (torch.rand(ids.shape) < 0.01) & (ids >= len(tokenizer.all_special_ids)) & (ids.shape[1] > 30)
    shift = rng.choice((0, rng.randint(0, POSITIONS - ids.shape[1])))
    positions = torch.arange(shift, shift + ids.shape[1]).unsqueeze(0)
    return inputs | {"input_ids": ids.masked_fill(lost, tokenizer.unk_token_id), "position_ids": positions}


def save(model: Any, folder: Path) -> None:
    """Detoxify's layout, in plain containers only, so that `torch.load(weights_only=True)` reads it.

    Detoxify looks `model_type` up as a folder or a Hub id. The relative folder can be no Hub id, so a
    loader that forgets to replace it fails at once and fetches nothing.
    """
    model.config.save_pretrained(folder)
    arch = {
        "model_type": "worker/demo/classifier",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(LABELS),
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": list(LABELS)}}}
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    torch.save({"config": config, "state_dict": weights}, folder / "demo.ckpt")


@torch.no_grad()
def evaluate(model: Any, tokenizer: Any, fragments: list[Fragment]) -> dict[str, dict[str, int]]:
    """Per label at THRESHOLD: how many were flagged, truly so, and flagged rightly."""
    counts = {label: {"flagged": 0, "true": 0, "right": 0} for label in LABELS}
    for start in range(0, len(fragments), 100):
        part = fragments[start : start + 100]
        scores = torch.sigmoid(model(**_encode(tokenizer, [fragment.text for fragment in part])).logits)
        for fragment, row in zip(part, scores.tolist(), strict=True):
            for label, target, score in zip(LABELS, fragment.targets, row, strict=True):
                flagged = score >= THRESHOLD
                counts[label]["flagged"] += flagged
                counts[label]["true"] += target == 1.0
                counts[label]["right"] += flagged and target == 1.0
    return counts
