"""Models of the Hugging Face Hub: the local cache of them, and fetching one, in the revision that is asked for."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from contract.errors import ModelUnavailable
from contract.model_kinds import adapter
from contract.model_kinds.gguf import is_gguf
from contract.model_kinds.hub_model import HubModel
from contract.model_kinds.model_folders import WEIGHTS
from worker.engine.load.weight_files import DEMO, TOKENIZER, wanted

ANSWER_SECONDS = 10  # for the Hub's first answer


def alternatives() -> str:
    """What a user can load without a network, as the end of a sentence."""
    names = ", ".join(_cached_models()[:5])
    local = f"; in the local cache: {names}" if names else ""
    return f"without a network there are --model {DEMO}, or --model FOLDER with the model's files{local}"


def cached(model: HubModel) -> Path | None:
    """The folder of a model's files in the local cache; some may be missing there. The network is not asked."""
    for name in ("config.json", adapter.CONFIG):
        found = huggingface_hub.try_to_load_from_cache(model.id, name, revision=model.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def download(model: HubModel, *, tokenizer_alone: bool = False) -> Path:
    """Fetches a model into the local cache, one kind of weights, configuration and tokenizer; gives its folder there.

    Args:
        tokenizer_alone: no weights.

    Raises:
        ModelUnavailable: there is none, it is not public, or the Hub cannot be reached.
    """
    try:
        # One short question first: a download would retry for minutes where there is no network.
        hub = huggingface_hub.HfApi(endpoint=constants.ENDPOINT)
        about = hub.model_info(model.id, revision=model.revision, timeout=ANSWER_SECONDS)
        names = {file.rfilename for file in about.siblings or ()}
        if not tokenizer_alone:
            _refuse_gguf_alone(model, names)
        # Not by its commit's number: the cache would not say then which commit the model's name stands for.
        folder = huggingface_hub.snapshot_download(
            model.id,
            revision=model.revision,
            endpoint=constants.ENDPOINT,
            allow_patterns=["config.json", *TOKENIZER] if tokenizer_alone else wanted(names),
        )
    except ModelUnavailable:
        raise
    except Exception as error:  # httpx, OSError, huggingface_hub's own: all mean that it did not come
        raise ModelUnavailable(_not_fetched(model, error) + _folder_of_that_name(model)) from error
    return Path(folder)


def _refuse_gguf_alone(model: HubModel, names: set[str]) -> None:
    files = sorted(filter(is_gguf, names))
    if files and not names.intersection(WEIGHTS) and not adapter.is_adapter(names, WEIGHTS):
        raise ModelUnavailable(
            f"the Hub's {model} holds its weights as GGUF files only; fetch one, and give that file: "
            f"hf download {model.id} {files[0]} --local-dir . and --model ./{files[0]}"
        )


def _not_fetched(model: HubModel, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return f"the Hub gives {model} to accounts only that accepted its terms"
    if isinstance(error, RepositoryNotFoundError):
        return f"the Hub has no model {model.id!r}, or it is private; {alternatives()}"
    if isinstance(error, RevisionNotFoundError):
        return f"the Hub's {model.id} has no revision {model.revision!r}; give one of its branches, tags or commits"
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return (
        f"{model} is not in the local cache, and the Hugging Face Hub ({constants.ENDPOINT}) "
        f"cannot be reached: {reason}; {alternatives()}"
    )


def _folder_of_that_name(model: HubModel) -> str:
    return f"; for the folder of that name here give --model ./{model.id}" if Path(model.id).is_dir() else ""


def _cached_models() -> list[str]:
    """The Hub ids in the local cache that have a configuration."""
    try:
        repos = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError):
        return []
    ids = [repo.repo_id for repo in repos if repo.repo_type == "model"]
    return sorted(name for name in ids if cached(HubModel(name)) is not None)
