"""Where a model's files lie, whether they are complete, and the hash that names their revision.

Folders, the local Hugging Face cache, and the Hub where it is needed. Nothing is loaded here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound, GatedRepoError, HFValidationError, RepositoryNotFoundError

from contract.errors import ModelUnavailable
from contract.names import local_path
from worker.demo import GPT2_DIR

DEMO = "demo"
HUB_TIMEOUT = 10  # seconds for the Hub's first answer
REVISION_DIGITS = 16

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""One of these is needed; the first one found is used."""

TOKENIZERS = (
    "tokenizer.json",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
)
"""One of these is needed; all that are there are used."""

TOKENIZER_PARTS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files in one folder, complete."""

    folder: Path
    weights: tuple[str, ...]  # the weights' files, and their index where there is one
    others: tuple[str, ...]  # the configuration and the tokenizer's files

    @property
    def safetensors(self) -> bool:
        return ".safetensors" in self.weights[0]

    def revision(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over the weights, configuration and tokenizer files.

        Each file adds its name, its size and its bytes, the weights first, each kind in the order of names.
        """
        digest = hashlib.sha256()
        for name in (*self.weights, *self.others):
            path = self.folder / name
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()[:REVISION_DIGITS]


def find_checkpoint(model: str) -> Checkpoint:
    """The files of "demo", a folder, or a Hub id; from the local cache where they are there.

    Raises:
        ModelUnavailable: nothing by that name, files missing, or the Hub cannot be reached.
    """
    if model == DEMO:
        return in_folder(GPT2_DIR)
    path = local_path(model)
    if path is not None and path.is_dir():
        return in_folder(path)
    if path is not None and path.exists():
        raise ModelUnavailable(f"{model} is a file; a model is a folder with config.json, weights and tokenizer")
    if path is not None or model.count("/") > 1 or not model:
        raise ModelUnavailable(f"there is no folder {model!r}; {alternatives()}")
    return _cached(model) or _downloaded(model)


def in_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        ModelUnavailable: naming what is missing.
    """
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = []
    if "config.json" not in present:
        missing.append("config.json")
    weights = next((name for name in WEIGHTS if name in present), None)
    if weights is None:
        missing.append("model.safetensors (or pytorch_model.bin)")
    if not present.intersection(TOKENIZERS):
        missing.append("the tokenizer (tokenizer.json, or vocab.json and merges.txt)")
    files = _with_shards(folder, weights) if weights else ()
    missing += [name for name in files if name not in present]
    if missing:
        raise ModelUnavailable(f"the model folder {folder} lacks {', '.join(missing)}; {alternatives()}")
    others = present.intersection(("config.json", *TOKENIZERS, *TOKENIZER_PARTS))
    return Checkpoint(folder, files, tuple(sorted(others)))


def alternatives() -> str:
    """What a user can load without a network, as the end of a sentence."""
    cached = ", ".join(cached_models()[:5])
    there = f"; in the local cache: {cached}" if cached else ""
    return f"without a network there are --model {DEMO}, or --model FOLDER with the model's files{there}"


def cached_models() -> list[str]:
    """The Hub ids in the local cache that have a configuration."""
    try:
        repos = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError):
        return []
    ids = [repo.repo_id for repo in repos if repo.repo_type == "model"]
    return sorted(name for name in ids if _cache_folder(name) is not None)


def _with_shards(folder: Path, weights: str) -> tuple[str, ...]:
    """The weights' file, or an index and the files it names."""
    if not weights.endswith(".index.json"):
        return (weights,)
    try:
        names = set(json.loads((folder / weights).read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelUnavailable(f"{folder / weights} is no index of weights: {error}") from error
    return (weights, *sorted(map(str, names)))


def _cache_folder(model: str) -> Path | None:
    try:
        config = huggingface_hub.try_to_load_from_cache(model, "config.json")
    except HFValidationError as error:
        raise ModelUnavailable(f"{model!r} is neither a folder nor a Hub id: {error}") from error
    return Path(config).parent if isinstance(config, str) else None


def _cached(model: str) -> Checkpoint | None:
    """The model in the local cache, if it is complete there. The network is not asked."""
    folder = _cache_folder(model)
    try:
        return in_folder(folder) if folder else None
    except ModelUnavailable:
        return None


def _downloaded(model: str) -> Checkpoint:
    """The model from the Hub: one kind of weights, configuration and tokenizer; nothing else."""
    try:
        # One short question first: a download would retry for minutes where there is no network.
        about = huggingface_hub.HfApi(endpoint=constants.ENDPOINT).model_info(model, timeout=HUB_TIMEOUT)
        names = {file.rfilename for file in about.siblings or ()}
        # Not by its commit's number: the cache would not say then which commit the model's name stands for.
        folder = huggingface_hub.snapshot_download(model, endpoint=constants.ENDPOINT, allow_patterns=wanted(names))
    except GatedRepoError as error:
        raise ModelUnavailable(f"the Hub gives {model} to accounts only that accepted its terms") from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(f"the Hub has no model {model!r}, or it is private; {alternatives()}") from error
    except Exception as error:  # httpx, OSError, huggingface_hub's own: all mean that it did not come
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelUnavailable(
            f"{model} is not in the local cache, and the Hugging Face Hub ({constants.ENDPOINT}) "
            f"cannot be reached: {reason}; {alternatives()}"
        ) from error
    return in_folder(Path(folder))


def wanted(names: set[str]) -> list[str]:
    """Which of a repository's files to download."""
    weights = next((name for name in WEIGHTS if name in names), WEIGHTS[0])
    stem, ending = ("model", "safetensors") if "safetensors" in weights else ("pytorch_model", "bin")
    shards = [f"{stem}-*.{ending}"] if weights.endswith(".index.json") else []
    return ["config.json", weights, *shards, *TOKENIZERS, *TOKENIZER_PARTS]
