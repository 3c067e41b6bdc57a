"""The model card: README.md of a finished model, as Markdown. Text only; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contract.model_kinds.hub_model import is_hub_id
from contract.model_kinds.own_model import BUILT_IN, OwnModel
from contract.tunings.prepared_corpus import PreparedCorpus
from worker.tuning.callbacks import perplexity
from worker.tuning.result.measuring import Measured
from worker.tuning.settled import Settled

MOST_FILES = 50
SETTINGS = (
    ("learning rate, at its peak", "learning_rate"),
    ("warm-up, share of the steps", "warmup"),
    ("weight decay", "weight_decay"),
    ("dropout", "dropout"),
    ("tokens an update", "tokens_per_update"),
    ("tokens a block", "block"),
    ("blocks a micro-batch", "rows"),
    ("gradient checkpointing", "gradient_checkpointing"),
    ("computed in", "dtype"),
    ("patience, in evaluations", "patience"),
    ("seed", "seed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that is told of a model."""

    settled: Settled
    base_revision: str
    corpus: PreparedCorpus
    before: Measured
    after: Measured
    copied: dict[str, Any]
    best_step: int
    history: Sequence[dict[str, Any]]  # the Trainer's

    def text(self) -> str:
        parts = (self._front, self._top, self._corpus, self._curves, self._samples, self._copies, self._settings)
        return "\n".join(line for part in parts for line in (*part(), ""))

    def _front(self) -> Iterator[str]:
        """What the Hub reads."""
        base, own = self.settled.order.base.partition("@")[0], OwnModel.parse(self.settled.order.base)
        yield from ("---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [inkmill]")
        if is_hub_id(base) and own is None and base != BUILT_IN:
            yield f"base_model: {json.dumps(base)}"
        yield "---"

    def _top(self) -> Iterator[str]:
        order = self.settled.order
        how = f"an adapter of rank {order.lora_rank}, merged into it" if order.lora_rank else "all of its weights"
        yield f"# {order.name}"
        yield ""
        yield f"Made of {code(order.base)} (revision {self.base_revision}) by training {how} on the corpus below. The"
        yield f"weights are those of step {self.best_step:,}, which had the smallest validation loss; they are float32."
        yield ""
        if self.before.perplexity and self.after.perplexity:
            yield f"| perplexity on {self.after.tokens:,} tokens that were held back | before | after |"
            yield "|---|---|---|"
            before, after = self.before.perplexity, self.after.perplexity
            yield f"| in float32, windows overlapping by half | {before:.2f} | {after:.2f} |"
        else:
            yield "There was no validation part, so nothing says how well it would predict texts that it has not seen."

    def _corpus(self) -> Iterator[str]:
        corpus, train, held_back = self.corpus, self.corpus.train, self.corpus.validation
        yield "## Corpus"
        yield ""
        yield f"{len(train.tokens):,} tokens of {len(train.documents):,} documents to learn from,"
        yield f"{len(held_back.tokens):,} tokens of {len(held_back.documents):,} held back for validation."
        yield f"Left out: {corpus.duplicates:,} duplicates, {corpus.empty:,} empty documents."
        yield ""
        yield "| file | SHA-256 | documents | tokens |"
        yield "|---|---|---|---|"
        for file in corpus.files[:MOST_FILES]:
            yield f"| {cell(file.name)} | {file.sha256} | {file.documents:,} | {file.tokens:,} |"
        if len(corpus.files) > MOST_FILES:
            yield f"| … and {len(corpus.files) - MOST_FILES:,} more, listed in inkmill.json | | | |"

    def _curves(self) -> Iterator[str]:
        yield "## Curves"
        yield ""
        yield "| step | epoch | training loss | validation loss | perplexity |"
        yield "|---|---|---|---|---|"
        for step, training, validation in curves(self.history):
            epoch = f"{self.settled.epoch(step):.2f}"
            yield f"| {step:,} | {epoch} | {number(training)} | {number(validation)} | {number(power(validation))} |"

    def _samples(self) -> Iterator[str]:
        yield "## Samples"
        yield ""
        yield "After the same prompts, with the same random numbers:"
        yield ""
        yield "| prompt | before | after |"
        yield "|---|---|---|"
        for before, after in zip(self.before.samples, self.after.samples, strict=True):
            yield f"| {cell(before['prompt']) or '(none)'} | {cell(before['text'])} | {cell(after['text'])} |"

    def _copies(self) -> Iterator[str]:
        copied = self.copied
        yield "## What it copied"
        yield ""
        yield f"Of {copied['samples']} samples of up to {copied['tokens_each']} tokens, {copied['long_runs']} "
        yield f"({copied['share']:.0%}) hold 32 tokens or more in a row that stand word for word in the training text."
        yield f"The longest such run has {copied['longest']} tokens."
        if copied["file"] is not None:
            yield f"It stands in {code(copied['file'])}, {copied['record']:,} (line or record):"
            yield ""
            yield f"> {cell(copied['text'])}"

    def _settings(self) -> Iterator[str]:
        order = self.settled.order
        yield "## Settings"
        yield ""
        yield "| setting | value |"
        yield "|---|---|"
        yield f"| steps | {self.settled.steps:,} ({self.settled.epoch(self.settled.steps):.2f} epochs) |"
        for said, name in SETTINGS:
            yield f"| {said} | {getattr(order, name)} |"
        yield f"| loss on prompts too | {order.train_on_prompts} |"
        for name, value in self.settled.machine.items():
            yield f"| {name} | {cell(str(value))} |"


def curves(history: Sequence[dict[str, Any]]) -> Iterator[tuple[int, float | None, float | None]]:
    """At each validation: the mean training loss since the one before, and the validation loss; without any, the
    training loss as it was logged."""
    if not any("eval_loss" in entry for entry in history):
        yield from ((entry["step"], entry["loss"], None) for entry in history if "loss" in entry)
        return
    losses: list[float] = []
    for entry in history:
        if "loss" in entry:
            losses.append(entry["loss"])
        if "eval_loss" in entry:
            yield entry["step"], sum(losses) / len(losses) if losses else None, entry["eval_loss"]
            losses = []


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def power(loss: float | None) -> float | None:
    return None if loss is None else perplexity(loss)


def cell(text: str) -> str:
    """Text as it is, in a cell of a table: what Markdown or HTML would read into it is escaped."""
    text = text.replace("\r", "").strip("\n")
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\"), ("|", "\\|"), ("`", "\\`")):
        text = text.replace(sign, shown)
    for sign in "*_[]#":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", "<br>")


def code(text: str) -> str:
    return f"`{text.replace('`', '')}`"
