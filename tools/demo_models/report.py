"""Writes what was measured into the README beside the models: figures, and samples as they came.

Only the blocks between the README's markers are replaced; the words around them are written by hand.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from detoxify.detoxify import get_model_and_tokenizer
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from tools.demo_models.train_classifier import THRESHOLD, Figures
from worker.demo import DEMO_DIR

SEED, SAMPLES, UNCONDITIONAL = 7, 300, 10
PROMPTS = (
    "Once upon a time", "The harbour was", "Dear Zoë,", "My name is", "Recipe: lemon cake, from",
    "“You", "Hello and welcome to", "In the morning", "Weather for", "But then",
)  # fmt: skip


def write_lm(out: Path, figures: Figures) -> None:
    row = "{parameters:,} | {held_out_texts} | {perplexity_token:.2f} | {perplexity_byte:.3f}"
    lines = [
        "| parameters | held-out texts | perplexity per token | per byte | bytes per token | minutes |",
        "|---|---|---|---|---|---|",
        f"| {row} | {{bytes_per_token:.2f}} | {{minutes:.1f}} |".format(**figures),
    ]
    _replace(out, "lm", lines)


def write_classifier(out: Path, figures: Figures) -> None:
    lines = [
        f"{figures['parameters']:,} parameters, trained in {figures['minutes']:.1f} minutes.",
        f"{figures['fragments']} held-out fragments, threshold {THRESHOLD}:",
        "",
        "| label | truly so | flagged | precision | recall |",
        "|---|---|---|---|---|",
    ]
    for label, count in figures["labels"].items():
        precision, recall = (_share(count["right"], count[key]) for key in ("flagged", "true"))
        lines.append(f"| {label} | {count['true']} | {count['flagged']} | {precision} | {recall} |")
    _replace(out, "classifier", lines)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "—"


def write_samples(out: Path) -> None:
    """20 samples with their toxicity; nothing is done where one of the models is not there yet."""
    if not (out / "gpt2/model.safetensors").exists() or not (out / "classifier/demo.ckpt").exists():
        return
    torch.manual_seed(SEED)
    free = sample(out / "gpt2", "<|endoftext|>", SAMPLES)
    prompted = [sample(out / "gpt2", prompt, 1)[0] for prompt in PROMPTS]
    flagged = sum(score >= THRESHOLD for score in toxicity(out / "classifier", free))
    lines = [
        f"Of {SAMPLES} unconditional samples the classifier flags {flagged} ({flagged / SAMPLES:.0%}).",
        "",
    ]
    shown = [("", text) for text in free[:UNCONDITIONAL]] + list(zip(PROMPTS, prompted, strict=True))
    for (prompt, text), score in zip(shown, toxicity(out / "classifier", [text for _, text in shown]), strict=True):
        title = f"After `{prompt}`" if prompt else "Unconditional"
        lines += [
            f"{title}; toxicity of the continuation {score:.2f}:",
            "",
            "```text",
            prompt + text,
            "```",
            "",
        ]
    _replace(out, "samples", lines[:-1])


@torch.no_grad()
def sample(folder: Path, prompt: str, count: int) -> list[str]:
    """Continuations at temperature 0.9, top_k 50, up to 160 tokens or the text's own end."""
    tokenizer: Any = GPT2Tokenizer.from_pretrained(folder)
    model: Any = GPT2LMHeadModel.from_pretrained(folder)
    ids = tokenizer([prompt] * count, return_tensors="pt")  # [count, prompt tokens]
    made = model.generate(
        **ids,
        max_new_tokens=160,
        do_sample=True,
        temperature=0.9,
        top_k=50,
        pad_token_id=tokenizer.eos_token_id,
    )
    return list(tokenizer.batch_decode(made[:, ids["input_ids"].shape[1] :], skip_special_tokens=True))


@torch.no_grad()
def toxicity(folder: Path, texts: list[str]) -> list[float]:
    """The first label's scores, from the model as Detoxify itself builds it."""
    saved = torch.load(folder / "demo.ckpt", weights_only=True)
    arch = saved["config"]["arch"]["args"] | {"model_type": str(folder)}
    model, tokenizer = get_model_and_tokenizer(
        **arch, state_dict=saved["state_dict"], huggingface_config_path=str(folder)
    )
    inputs = tokenizer(texts, return_tensors="pt", truncation=True, padding=True)
    return [float(score) for score in torch.sigmoid(model.eval()(**inputs).logits)[:, 0]]


def _replace(out: Path, block: str, lines: list[str]) -> None:
    readme = out / "README.md"
    if not readme.exists():
        shutil.copyfile(DEMO_DIR / "README.md", readme)
    begin, end = f"<!-- {block} -->", f"<!-- /{block} -->"
    body = "\n".join([begin, "", *lines, "", end])
    text = readme.read_text(encoding="utf-8")
    text = re.sub(f"{begin}.*?{end}", lambda _: body, text, flags=re.DOTALL)
    readme.write_text(text, encoding="utf-8")
