"""Trains the demonstration GPT-2 from scratch: its byte-level BPE, its weights, its perplexity.

One process, one thread, fixed seeds. Writes the layout that GPT-2 has on the Hub and nothing else.
"""

import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from tools.demo_models.grammar import END_OF_TEXT, corpus

TRAIN_SEED, HELD_OUT_SEED = 1, 2
TRAIN_TEXTS, HELD_OUT_TEXTS = 60_000, 500
VOCABULARY, POSITIONS = 2048, 256
STEPS, BATCH, WARMUP, PEAK_RATE = 2000, 8, 100, 3e-3


def train(folder: Path) -> dict[str, Any]:
    """Writes the model into `folder` and returns its figures on held-out texts."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    texts = [composed.text for composed in corpus(TRAIN_SEED, TRAIN_TEXTS)]
    tokenizer = train_tokenizer(texts, folder)
    torch.manual_seed(TRAIN_SEED)
    model = GPT2LMHeadModel(_config())
    fit(model, rows(tokenizer, texts, random.Random(TRAIN_SEED)))  # noqa: S311
    save(model, folder)
    unseen = set(texts)
    held_out = [composed.text for composed in corpus(HELD_OUT_SEED, HELD_OUT_TEXTS)]
    figures = perplexity(model, tokenizer, [text for text in held_out if text not in unseen])
    return figures | {"parameters": model.num_parameters(), "minutes": (time.monotonic() - started) / 60}


def train_tokenizer(texts: list[str], folder: Path) -> Any:
    """GPT-2's byte-level BPE learned from `texts`; `<|endoftext|>` is the last id, as in GPT-2."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A third of the texts suffices to count pairs.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1, min_frequency=20, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts[::3], trainer)
    learned = json.loads(bpe.to_str())["model"]
    if len(learned["vocab"]) != VOCABULARY - 1:
        raise ValueError(f"{len(texts)} texts are too few to fill a vocabulary of {VOCABULARY}")
    vocabulary = learned["vocab"] | {END_OF_TEXT: len(learned["vocab"])}
    merges = [" ".join(pair) for pair in learned["merges"]]
    (folder / "tokenizer.json").unlink(missing_ok=True)  # else an earlier one would be read in place of these
    _write_slow_files(vocabulary, merges, folder)
    GPT2Tokenizer.from_pretrained(folder, model_max_length=POSITIONS).save_pretrained(folder)
    return GPT2Tokenizer.from_pretrained(folder)


def _write_slow_files(vocabulary: dict[str, int], merges: list[str], folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def _config() -> GPT2Config:
    end = VOCABULARY - 1
    return GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=128, n_layer=4, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip


def rows(tokenizer: Any, texts: list[str], rng: random.Random) -> Iterator[torch.Tensor]:
    """Batches of token ids, [BATCH, POSITIONS], without end.

    Half the rows start with `<|endoftext|>` (unconditional generation), a quarter with a text's first
    token and a quarter inside a text: a prompt may be any of these, always from position 0.
    """
    end = tokenizer.eos_token_id
    encoded = [[end, *ids] for ids in tokenizer(texts)["input_ids"]]
    while True:
        rng.shuffle(encoded)
        stream = [token for ids in encoded for token in ids]
        starts = [position for position, token in enumerate(stream) if token == end]
        yield from _batches(stream, starts, rng)


def _batches(stream: list[int], starts: list[int], rng: random.Random) -> Iterator[torch.Tensor]:
    batch: list[list[int]] = []
    position = 0
    for start in starts:
        if start < position:
            continue
        shift = rng.choice((0, 0, 1, rng.randint(2, 40)))
        row = stream[start + shift : start + shift + POSITIONS]
        position = start + shift + POSITIONS - 40  # a little overlap wastes no text
        if len(row) == POSITIONS:
            batch.append(row)
        if len(batch) == BATCH:
            yield torch.tensor(batch)
            batch = []


def fit(model: Any, batches: Iterator[torch.Tensor]) -> None:
    """STEPS steps of AdamW with a linear warm-up and a cosine decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate)
    model.train()
    for step in range(STEPS):
        ids = next(batches)
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"lm step {step:5d}  loss {loss.item():.3f}", flush=True)
    model.eval()


def _rate(step: int) -> float:
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    end = VOCABULARY - 1
    generation: Any = GenerationConfig  # its constructor is not typed
    generation(bos_token_id=end, eos_token_id=end).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """exp of the mean negative log-likelihood, per token and per UTF-8 byte; the closing end counts."""
    end = tokenizer.eos_token_id
    loss, tokens, size = 0.0, 0, 0
    for text in texts:
        ids = torch.tensor([[end, *tokenizer(text)["input_ids"], end]])  # [1, tokens]
        loss += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
        size += len(text.encode())
    return {
        "perplexity_token": math.exp(loss / tokens),
        "perplexity_byte": math.exp(loss / size),
        "bytes_per_token": size / tokens,
        "held_out_texts": len(texts),
    }
