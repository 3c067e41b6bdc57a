"""Models of the Hugging Face Hub: the local cache of them, and fetching one."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound, GatedRepoError, HFValidationError, RepositoryNotFoundError

from contract.errors import ModelUnavailable
from worker.engine.load.weight_files import DEMO, wanted

ANSWER_SECONDS = 10  # for the Hub's first answer


def alternatives() -> str:
    """What a user can load without a network, as the end of a sentence."""
    names = ", ".join(_cached_models()[:5])
    local = f"; in the local cache: {names}" if names else ""
    return f"without a network there are --model {DEMO}, or --model FOLDER with the model's files{local}"


def cached(model: str) -> Path | None:
    """The folder of a Hub id's files in the local cache; some may be missing there. The network is not asked.

    Raises:
        ModelUnavailable: no Hub id.
    """
    try:
        config = huggingface_hub.try_to_load_from_cache(model, "config.json")
    except HFValidationError as error:
        raise ModelUnavailable(f"{model!r} is neither a folder nor a Hub id: {error}") from error
    return Path(config).parent if isinstance(config, str) else None


def download(model: str) -> Path:
    """Fetches a model into the local cache, one kind of weights, configuration and tokenizer; gives its folder there.

    Raises:
        ModelUnavailable: there is none, it is not public, or the Hub cannot be reached.
    """
    try:
        # One short question first: a download would retry for minutes where there is no network.
        about = huggingface_hub.HfApi(endpoint=constants.ENDPOINT).model_info(model, timeout=ANSWER_SECONDS)
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
    return Path(folder)


def _cached_models() -> list[str]:
    """The Hub ids in the local cache that have a configuration."""
    try:
        repos = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError):
        return []
    ids = [repo.repo_id for repo in repos if repo.repo_type == "model"]
    return sorted(name for name in ids if cached(name) is not None)
