"""The files of a base model that a tuning depends on: what a folder holds, and the tokenizer of its corpus.

Reads bytes alone; nothing is loaded here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from contract.model_kinds import adapter
from contract.model_kinds.model_folders import TOKENIZER_FILES, WEIGHTS, weights_files

TOKENIZER = "tokenizer.json"
VOCABULARY_AND_MERGES = ("vocab.json", "merges.txt")
TEMPLATE_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
_BESIDE_WEIGHTS = ("config.json", adapter.CONFIG, adapter.WEIGHTS, *TOKENIZER_FILES, "merges.txt", *TEMPLATE_FILES)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 of the files that a corpus is made with. A vocabulary of another form beside them does not count: of a
    model of the Hub some come later, with its weights."""
    read = [TOKENIZER] if (folder / TOKENIZER).is_file() else VOCABULARY_AND_MERGES
    return _digest(folder, [*read, *TEMPLATE_FILES])


def base_digest(base: str) -> str | None:
    """SHA-256 of a base that lies in a folder or a file of the user's, which may be replaced; of an adapter's own base
    as well. None of any other, whose name stands for what it is.

    Args:
        base: as `contract.names.model_name` returns it.
    """
    path = Path(base)
    if not path.is_absolute():
        return None
    if not path.is_dir():
        return _digest(path.parent, [path.name])
    return hashlib.sha256("".join(map(_folder_digest, _folders(path))).encode()).hexdigest()


def _folders(folder: Path) -> Iterator[Path]:
    """A model's folder, and where it is an adapter that of its base, if that lies here."""
    yield folder
    if adapter.is_adapter({path.name for path in folder.iterdir()}, WEIGHTS):
        with suppress(ValueError, OSError):
            beneath = Path(adapter.base_model(folder))
            if beneath.is_absolute() and beneath.is_dir():
                yield beneath


def _folder_digest(folder: Path) -> str:
    present = sorted(path.name for path in folder.iterdir())
    try:
        weights = weights_files(folder, present)
    except ValueError:  # an index that is none: who loads the model says so
        weights = ()
    return _digest(folder, sorted({*weights, *_BESIDE_WEIGHTS}))


def _digest(folder: Path, names: Iterable[str]) -> str:
    """Of those that are there, each by its name, its size and its bytes."""
    digest = hashlib.sha256()
    for path in (folder / name for name in names):
        if path.is_file():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
