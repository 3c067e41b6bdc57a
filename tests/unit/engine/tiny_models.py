"""Tiny random GPT-2 checkpoints in the real layout, and the engines that run them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from contract.spec import SamplingSettings
from worker.engine.cpu.gpt2 import GPT2
from worker.engine.engine import SlotEngine
from worker.engine.sequence import Completion, Fault, Request
from worker.engine.tokenizer import ByteVocabulary

SENTENCES = [
    "Once upon a time there was a miller who had a mill by the river.",
    "The river turned the wheel, and the wheel turned the stone.",
    "Naïve café owners paid 3 € for a jalapeño; 東京 is far away 🙂.",
    "def grind(corn):\n    return corn.split()\n",
]

Report = Completion | Fault

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = [AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")]


def make_tokenizer(folder: Path, vocabulary: int = 400) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES * 3, trainer)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end, unk_token=end)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_gpt2(folder: Path, seed: int = 0, chat: str = "", **changes: Any) -> Path:
    """A checkpoint whose logits are spread out enough that greedy texts and filters mean something.

    Args:
        chat: its chat template; "" = it has none.
    """
    tokenizer = make_tokenizer(folder)
    if chat:
        tokenizer.add_tokens(TURNS, special_tokens=True)
        tokenizer.chat_template = chat
        tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "n_positions": 128,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.25,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    model = GPT2LMHeadModel(GPT2Config(**(values | changes)))
    for parameter in model.parameters():  # biases and norms, too, or they would not be tested
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.data.mean()), std=0.1)
    model.save_pretrained(folder)
    return folder


@dataclass
class Tiny:
    """One checkpoint: transformers' model and tokenizer, and our own over the same weights."""

    folder: Path
    reference: GPT2LMHeadModel
    tokenizer: Any
    model: GPT2
    vocabulary: ByteVocabulary

    def engine(self, slots: int = 4) -> SlotEngine:
        return SlotEngine(self.model, self.vocabulary, slots)


def load_tiny(folder: Path, dtype: str = "fp32") -> Tiny:
    reference = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = GPT2(reference.config, reference.state_dict(), dtype)
    return Tiny(folder, reference, tokenizer, model, ByteVocabulary(tokenizer, reference.config))


def settings(**values: Any) -> SamplingSettings:
    return SamplingSettings(**values)


def run_all(engine: Any, requests: Iterable[Request] = (), limit: int = 5000) -> dict[Any, Report]:
    """Everything the engine reports until nothing is pending, by key."""
    engine.add(requests)
    reports: dict[Any, Report] = {}
    for _ in range(limit):
        if not engine.pending:
            return reports
        for report in engine.step():
            assert report.key not in reports
            reports[report.key] = report
    raise AssertionError(f"{engine.pending} requests are still pending after {limit} steps")


def text_of(engine: Any) -> str:
    """What an engine writes for one fixed request."""
    report = run_all(engine, [Request(0, "Once upon", settings(max_new_tokens=12), 5)])[0]
    assert isinstance(report, Completion), report
    return report.text
