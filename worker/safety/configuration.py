"""The base configuration and tokenizer of a classifier: a local folder, the Hub's cache, or the Hub.

Always ends in a folder on this disk, so that nothing is fetched while a model is built.
"""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from contract.errors import ModelUnavailable
from contract.model_kinds.model_folders import TOKENIZER_FILES
from worker.model_files import TOKENIZER_EXTRAS

HUB_TIMEOUT = 10  # seconds
_FILES = ("config.json", *TOKENIZER_FILES, *TOKENIZER_EXTRAS)


def find_configuration(checkpoint: Path, model_type: str) -> Path:
    """The folder with config.json and a tokenizer that a checkpoint is built with.

    In this order: the checkpoint's own folder; a folder beside it named like the file; `model_type` as a folder; the
    Hub's cache; the Hub.

    Args:
        checkpoint: the checkpoint's file.
        model_type: the base configuration the checkpoint names, for example "bert-base-uncased".

    Raises:
        ModelUnavailable: no configuration, or one without a tokenizer.
    """
    named = [Path(model_type)] if Path(model_type).is_absolute() else []  # a bare name is a Hub id, not a folder here
    for candidate in (checkpoint.parent, checkpoint.with_suffix(""), *named):
        if (candidate / "config.json").is_file():
            return _with_tokenizer(candidate)
    return _with_tokenizer(_from_hub(checkpoint, model_type))


def _with_tokenizer(folder: Path) -> Path:
    # transformers 5 makes a tokenizer of five special tokens, without a word, where there is no vocabulary.
    if not _has_vocabulary(folder):
        raise ModelUnavailable(
            f"{folder}: a config.json but no tokenizer; put one of {', '.join(TOKENIZER_FILES)} beside it"
        )
    return folder


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _cached(model_type: str) -> Path | None:
    # Not snapshot_download: it distrusts a snapshot that another library fetched file by file.
    config = huggingface_hub.try_to_load_from_cache(model_type, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _has_vocabulary(folder) else None


def _from_hub(checkpoint: Path, model_type: str) -> Path:
    """The base configuration (a few files, no weights) in the Hub's cache, fetched where it is not there yet."""
    try:
        if cached := _cached(model_type):
            return cached
        # One bounded question first: huggingface_hub alone retries a dead network for minutes, file by file.
        huggingface_hub.HfApi().model_info(model_type, timeout=HUB_TIMEOUT)
        return Path(huggingface_hub.snapshot_download(model_type, allow_patterns=list(_FILES)))
    except Exception as error:  # the Hub's client raises its own errors, httpx2's, OSError and ValueError
        raise ModelUnavailable(
            f"{checkpoint}: its base configuration {model_type!r} is not on this machine, and "
            f"{_reason(error)}; put {model_type}'s config.json and tokenizer files into "
            f"{checkpoint.with_suffix('')}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, HFValidationError):
        return "that is no Hub id either"
    endpoint = huggingface_hub.constants.ENDPOINT
    if isinstance(error, HfHubHTTPError):
        return f"{endpoint} has none to give ({type(error).__name__})"
    return f"{endpoint} cannot be reached ({type(error).__name__})"
