"""A classifier's checkpoint file: where it lies, fetching a published one, and reading it without running it.

A checkpoint is somebody else's pickle; it is only ever read with `weights_only=True`. Nothing is built here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from detoxify.detoxify import MODEL_URLS

from common.near_misses import did_you_mean
from contract.errors import ModelUnavailable
from contract.model_kinds.model_folders import CLASSIFIER_SUFFIXES, classifier_problem
from contract.policy import BUILT_IN_CLASSIFIERS
from worker.model_files import REVISION_DIGITS

DOWNLOAD_TIMEOUT = 15  # seconds without a byte

_CHUNK = 1 << 20
_STANDARD_NAMES = {
    "toxic": "toxicity",
    "identity_hate": "identity_attack",
    "severe_toxic": "severe_toxicity",
}  # detoxify.load_checkpoint does the same

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a file of Detoxify's layout says."""

    path: Path
    revision: str  # the first hex digits of the file's SHA-256; a classifier's own covers its configuration, too
    model_type: str  # the base configuration: a Hub id, or a folder
    model_name: str  # transformers' model class
    tokenizer_name: str  # transformers' tokenizer class
    num_classes: int  # columns of the classifier's output, at least as many as `classes`
    classes: tuple[str, ...]  # the first columns' labels under their standard names
    state_dict: dict[str, torch.Tensor]


def find_checkpoint(name: str) -> Path:
    """The checkpoint file that `name` stands for: a built-in name, a file, or a folder that holds one file.

    A built-in name comes before a file of that name. What is missing of the published ones is downloaded into
    torch.hub's cache, which Detoxify itself uses.

    Raises:
        ModelUnavailable: an unknown name, no such file, or a download that failed.
    """
    if name in MODEL_URLS:
        return _published(name)
    if name == "demo":
        from worker.demo import CLASSIFIER_PATH

        return CLASSIFIER_PATH
    path = Path(name).expanduser()
    if name and path.exists():
        if problem := classifier_problem(path):
            raise ModelUnavailable(problem)
        return _only_checkpoint(path) if path.is_dir() else path
    raise ModelUnavailable(_unknown(name))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of Detoxify's layout on the CPU: `config` and `state_dict`.

    Only tensors and plain values are read, nothing else that a pickle may hold: going by Detoxify's training code,
    the published files consist of nothing else either, so no global is allow-listed for them.

    Raises:
        ModelUnavailable: a file that is no checkpoint, that holds code, or that lacks a part.
    """
    loaded = _load(path)
    if not isinstance(loaded, Mapping) or not {"config", "state_dict"} <= loaded.keys():
        raise ModelUnavailable(
            f"{path}: not a checkpoint of Detoxify's layout (no 'config' and 'state_dict' in it); "
            "a training checkpoint has to go through Detoxify's convert_weights.py first"
        )
    arguments = _part(path, loaded["config"], "arch", "args")
    weights = loaded["state_dict"]
    if not isinstance(weights, Mapping) or not all(isinstance(w, torch.Tensor) for w in weights.values()):
        raise ModelUnavailable(f"{path}: its 'state_dict' holds no tensors; is this a classifier's checkpoint?")
    return Checkpoint(
        path=path,
        revision=_sha256(path)[:REVISION_DIGITS],
        model_type=_typed(path, arguments, "model_type", str),
        model_name=_typed(path, arguments, "model_name", str),
        tokenizer_name=_typed(path, arguments, "tokenizer_name", str),
        num_classes=_typed(path, arguments, "num_classes", int),
        classes=_classes(path, loaded["config"], arguments),
        state_dict=dict(weights),
    )


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported" in reason or "not allowed" in reason or "not an allowed" in reason:
            code = reason.partition("WeightsUnpickler error:")[2].strip().splitlines() or ["it is not plain data"]
            raise ModelUnavailable(
                f"{path}: refused, because reading it would run code ({code[0]}); a classifier's checkpoint "
                "holds tensors and plain values only: do not use this file, fetch it from its publisher"
            ) from None
        raise ModelUnavailable(_broken(path, reason)) from error
    except Exception as error:  # what torch raises for a file that is no checkpoint is not defined
        raise ModelUnavailable(_broken(path, f"{type(error).__name__}: {error}")) from error


def _broken(path: Path, reason: str) -> str:
    first = reason.strip().splitlines()[0][:200] if reason.strip() else "nothing in it"
    return f"{path}: cannot be read as a checkpoint ({first}); if it was downloaded, delete it and try again"


def _part(path: Path, config: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping):
        raise ModelUnavailable(f"{path}: its config has no '{'.'.join(keys)}'; is this Detoxify's?")
    return config


def _typed(path: Path, arguments: Mapping[str, Any], key: str, kind: type) -> Any:
    value = arguments.get(key)
    if not isinstance(value, kind) or not value:
        raise ModelUnavailable(f"{path}: its config has no usable '{key}' ({value!r}); is this Detoxify's?")
    return value


def _classes(path: Path, config: Any, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    dataset = _part(path, config, "dataset", "args")
    # Detoxify's newer training configurations name the classes beside the architecture.
    names = dataset.get("classes", arguments.get("classes"))
    if not names or not isinstance(names, list | tuple) or any(not isinstance(name, str) for name in names):
        raise ModelUnavailable(f"{path}: its config names no classes (dataset.args.classes is {names!r})")
    return tuple(_STANDARD_NAMES.get(str(name), str(name)) for name in names)


def _only_checkpoint(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.suffix in CLASSIFIER_SUFFIXES and path.is_file())


def _unknown(name: str) -> str:
    if os.sep in name or Path(name).suffix in CLASSIFIER_SUFFIXES:
        return f"{name}: there is no such checkpoint file or folder; check the path"
    known = f"known: {', '.join(BUILT_IN_CLASSIFIERS)}, a checkpoint's path"
    return f"{name!r} is not a classifier; {did_you_mean(name, BUILT_IN_CLASSIFIERS, known)}"


def _published(name: str) -> Path:
    url = MODEL_URLS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        logger.info("downloading the classifier %s from %s to %s", name, url, path)
        try:
            _download(url, path)
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", None) or error
            raise ModelUnavailable(
                f"the classifier {name!r} is not on this machine and could not be downloaded from {url} "
                f"({reason}); fetch it elsewhere and put it at {path}, or use --safety demo or --safety none"
            ) from error
    return path


def _download(url: str, path: Path) -> None:
    """Download `url` to `path`, which appears only once it is complete.

    torch.hub.download_url_to_file is not used: it waits without a limit where a network swallows packets, and
    takes a connection that ended early for the end of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as response:  # noqa: S310 (Detoxify's URLs)
                expected = int(response.headers.get("Content-Length") or 0)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
            file.flush()
            _check_download(partial, url, expected)
            partial.chmod(0o644)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _check_download(partial: Path, url: str, expected: int) -> None:
    size = partial.stat().st_size
    if size < expected:
        raise OSError(f"the connection ended after {size:,} of {expected:,} bytes")
    expected_hash = Path(urlparse(url).path).stem.rpartition("-")[2]
    # Detoxify's convert_weights.py takes the hash, then saves the file again under the name with the hash, and
    # an archive contains its own name: so a whole archive passes even where its hash is not that of its name.
    if not _sha256(partial).startswith(expected_hash) and not zipfile.is_zipfile(partial):
        raise OSError("what came is not the file: its SHA-256 is not that of its name, and it is no archive")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
