"""Where a model's files lie, whether they are complete, and the hash that names their revision.

Folders and files here; `worker.engine.load.hub` knows of the Hugging Face cache and the Hub. Nothing is loaded here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import ModelUnavailable
from contract.model_kinds import adapter
from contract.model_kinds.gguf import is_gguf
from contract.model_kinds.hub_model import HubModel
from contract.model_kinds.model_folders import (
    TOKENIZER_FILES,
    WEIGHTS,
    hub_id_problem,
    model_folder_problem,
    path_problem,
    weights_files,
)
from contract.model_kinds.paths import local_path
from worker.demo import GPT2_DIR
from worker.engine.load import hub
from worker.engine.load.weight_files import DEMO
from worker.model_files import REVISION_DIGITS, config_and_tokenizer_files, hash_files


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, complete: those in one folder, and where they are an adapter's those of its base."""

    folder: Path
    weights: tuple[str, ...]  # the weights' files, and their index where there is one; or one GGUF file
    others: tuple[str, ...]  # the configuration and the tokenizer's files
    base: Checkpoint | None = None  # what this is an adapter for

    @property
    def place(self) -> Path:
        """What a message calls it: its folder, or its one file."""
        return self.folder / self.gguf if self.gguf else self.folder

    @property
    def weight_paths(self) -> list[Path]:
        return [self.folder / name for name in self.weights]

    @property
    def other_paths(self) -> list[Path]:
        return [self.folder / name for name in self.others]

    @property
    def paths(self) -> list[Path]:
        """Every file that is read of it."""
        return [*self.weight_paths, *self.other_paths, *(self.base.paths if self.base else ())]

    @property
    def tokenizer_paths(self) -> list[Path]:
        """The files that the tokenizer is read from; where an adapter comes without one, its base's."""
        if self.base is None:
            return self.weight_paths if self.gguf else self.other_paths
        if not set(self.others).intersection(TOKENIZER_FILES):
            return self.base.tokenizer_paths
        own = [path for path in self.other_paths if path.name not in ("config.json", adapter.CONFIG)]
        return [self.base.folder / "config.json", *own]

    @property
    def safetensors(self) -> bool:
        return ".safetensors" in self.weights[0]

    @property
    def gguf(self) -> str | None:
        """The name of its one file, if that is in llama.cpp's format."""
        return self.weights[0] if is_gguf(self.weights[0]) else None

    def revision(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over the weights, configuration and tokenizer files.

        Each file adds its name, its size and its bytes, the weights first, each kind in the order of names; an
        adapter's come after those of its base. Of a GGUF file it is the hash of its bytes alone.
        """
        if not self.gguf:
            return str(self._digest().hexdigest()[:REVISION_DIGITS])
        with self.place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:REVISION_DIGITS]

    def _digest(self) -> Any:
        before = self.base._digest() if self.base else None
        return hash_files(self.folder, (*self.weights, *self.others), before)


def find_checkpoint(model: str, folder: Path | None = None) -> Checkpoint:
    """The files of "demo", a folder, a GGUF file or a Hub id; from the local cache where they are there.

    Args:
        folder: where the files of a model of one's own lie; None = the name says it.

    Raises:
        ModelUnavailable: nothing by that name, files missing, or the Hub cannot be reached.
    """
    if folder is not None:
        return in_folder(folder)
    if model == DEMO:
        return in_folder(GPT2_DIR)
    path = local_path(model)
    if path is None:
        return _of_the_hub(model)
    if not path.exists():
        raise ModelUnavailable(f"there is no {'file' if is_gguf(path) else 'folder'} {model!r}; {hub.alternatives()}")
    if problem := path_problem(path):
        raise ModelUnavailable(problem)
    return in_folder(path) if path.is_dir() else Checkpoint(path.parent, (path.name,), ())


def in_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        ModelUnavailable: it cannot be a model, or something in it sends its reader to other files.
    """
    if problem := model_folder_problem(folder):
        raise ModelUnavailable(problem)
    present = [path.name for path in folder.iterdir()]
    if adapter.is_adapter(present, WEIGHTS):
        return _adapter(folder)
    return Checkpoint(folder, weights_files(folder, present), config_and_tokenizer_files(folder))


def _adapter(folder: Path) -> Checkpoint:
    """An adapter and its base, which is a whole model."""
    name = adapter.base_model(folder)
    try:
        base = in_folder(Path(name)) if Path(name).is_absolute() else _of_the_hub(name, whole=True)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"the adapter in {folder} cannot be merged into its base model: {error}") from error
    return Checkpoint(folder, (adapter.WEIGHTS,), (adapter.CONFIG, *config_and_tokenizer_files(folder)), base)


def _of_the_hub(name: str, *, whole: bool = False) -> Checkpoint:
    """The model in the local cache, if it is complete there: then the network is not asked. Else from the Hub.

    Args:
        whole: an adapter will not do.
    """
    if problem := hub_id_problem(name):
        raise ModelUnavailable(problem)
    model = HubModel.parse(name)
    folder = hub.cached(model)
    if folder is None or model_folder_problem(folder):
        folder = hub.download(model)
    if whole and adapter.is_adapter({path.name for path in folder.iterdir()}, WEIGHTS):
        raise ModelUnavailable(f"{name} is an adapter itself; merge it into its own base first")
    return in_folder(folder)
