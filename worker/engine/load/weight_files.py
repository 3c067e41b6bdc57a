"""The files that a model's weights lie in, by name, wherever they come from: a folder, the cache or the Hub."""

from __future__ import annotations

from worker.model_files import TOKENIZER_EXTRAS, TOKENIZER_FILES

DEMO = "demo"

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""One of these is needed; the first one found is used."""


def wanted(names: set[str]) -> list[str]:
    """Which of a repository's files to download."""
    weights = next((name for name in WEIGHTS if name in names), WEIGHTS[0])
    stem, ending = ("model", "safetensors") if "safetensors" in weights else ("pytorch_model", "bin")
    shards = [f"{stem}-*.{ending}"] if weights.endswith(".index.json") else []
    return ["config.json", weights, *shards, *TOKENIZER_FILES, *TOKENIZER_EXTRAS]
