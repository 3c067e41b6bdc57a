"""Where a model's files lie, whether they are complete, and the hash that names their revision.

Folders here; `worker.engine.load.hub` knows of the Hugging Face cache and the Hub. Nothing is loaded here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contract.errors import ModelUnavailable
from contract.model_folders import hub_id_problem, model_folder_problem, not_a_folder, weights_files
from contract.names import local_path
from worker.demo import GPT2_DIR
from worker.engine.load import hub
from worker.engine.load.weight_files import DEMO
from worker.model_files import REVISION_DIGITS, config_and_tokenizer_files, hash_files


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files in one folder, complete."""

    folder: Path
    weights: tuple[str, ...]  # the weights' files, and their index where there is one
    others: tuple[str, ...]  # the configuration and the tokenizer's files

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that is read of it."""
        return (*self.weights, *self.others)

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    @property
    def safetensors(self) -> bool:
        return ".safetensors" in self.weights[0]

    def revision(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over the weights, configuration and tokenizer files.

        Each file adds its name, its size and its bytes, the weights first, each kind in the order of names.
        """
        return str(hash_files(self.folder, self.names).hexdigest()[:REVISION_DIGITS])


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
        raise ModelUnavailable(not_a_folder(path))
    if path is not None:
        raise ModelUnavailable(f"there is no folder {model!r}; {hub.alternatives()}")
    if problem := hub_id_problem(model):
        raise ModelUnavailable(problem)
    return _of_the_hub(model)


def in_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        ModelUnavailable: it cannot be a model, or something in it sends its reader to other files.
    """
    if problem := model_folder_problem(folder):
        raise ModelUnavailable(problem)
    weights = weights_files(folder, [path.name for path in folder.iterdir()])
    return Checkpoint(folder, weights, config_and_tokenizer_files(folder))


def _of_the_hub(model: str) -> Checkpoint:
    """The model in the local cache, if it is complete there: then the network is not asked. Else from the Hub."""
    folder = hub.cached(model)
    if folder is not None:
        with suppress(ModelUnavailable):
            return in_folder(folder)
    return in_folder(hub.download(model))
