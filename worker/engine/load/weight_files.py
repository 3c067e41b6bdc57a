"""The files that a model's weights lie in, by name, wherever they come from: a folder, the cache or the Hub."""

from __future__ import annotations

from collections.abc import Collection

from contract.model_kinds import adapter
from contract.model_kinds.model_folders import TOKENIZER_FILES, WEIGHTS
from worker.model_files import TOKENIZER_EXTRAS

DEMO = "demo"
TOKENIZER = (*TOKENIZER_FILES, *TOKENIZER_EXTRAS)


def wanted(names: Collection[str]) -> list[str]:
    """Which of a repository's files to download."""
    if adapter.is_adapter(names, WEIGHTS):
        return [adapter.CONFIG, adapter.WEIGHTS, *TOKENIZER]
    weights = next((name for name in WEIGHTS if name in names), WEIGHTS[0])
    stem, ending = ("model", "safetensors") if "safetensors" in weights else ("pytorch_model", "bin")
    shards = [f"{stem}-*.{ending}"] if weights.endswith(".index.json") else []
    return ["config.json", weights, *shards, *TOKENIZER]
