"""The files that a model is read from: their names, the hash that names their revision, and nothing beside them.

transformers looks for more files than these, and lets a configuration name others. What is read and not hashed would
write under a revision that is not its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.errors import ModelUnavailable

REVISION_DIGITS = 16

TOKENIZERS = (
    "tokenizer.json",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
)
"""One of these is needed; all that are there are used."""

TOKENIZER_PARTS = (
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("bpe.codes", "emoji.json"),
)

DETOURS = {
    "config.json": ("transformers_weights", "configuration_files"),
    "tokenizer_config.json": ("fast_tokenizer_files",),
}
"""What makes transformers read another file than the one it is known by, and where that may stand."""


def described_by(folder: Path) -> tuple[str, ...]:
    """The configuration and the tokenizer's files that are in a folder, in the order of names.

    Raises:
        ModelUnavailable: one of them sends its reader to yet another file.
    """
    known = ("config.json", *TOKENIZERS, *TOKENIZER_PARTS)
    found = tuple(sorted(name for name in known if (folder / name).is_file()))
    for name in DETOURS.keys() & set(found):
        _refuse_detours(folder / name)
    return found


def _refuse_detours(path: Path) -> None:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # whoever reads it says what is wrong with it
    for entry in DETOURS[path.name]:
        if isinstance(said, dict) and said.get(entry):
            raise ModelUnavailable(
                f"{path}: {entry} names other files to read ({str(said[entry])[:100]!r}), which the model's revision "
                "would not cover; give the file that is meant its usual name, and take that entry out"
            )


def hashed(folder: Path, names: Iterable[str], digest: Any = None) -> Any:
    """A SHA-256 over files: each adds its name, its size and its bytes.

    Args:
        digest: one to go on with.
    """
    digest = hashlib.sha256() if digest is None else digest
    for name in names:
        path = folder / name
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest


@contextmanager
def alone(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder of links to these files and nothing else, for a library that looks around where it is sent."""
    with tempfile.TemporaryDirectory(prefix="inkmill-") as place:
        for name in names:
            (Path(place) / name).symlink_to((folder / name).resolve())
        yield Path(place)


@contextmanager
def unchanged(paths: Sequence[Path]) -> Iterator[None]:
    """Files that are read, and hashed, inside.

    Raises:
        ModelUnavailable: one was changed meanwhile: what was loaded may not be what was hashed.
    """
    before = [_state(path) for path in paths]
    yield
    for path, then in zip(paths, before, strict=True):
        if _state(path) != then:
            raise ModelUnavailable(f"{path} was changed while it was loaded; once that is over, start again")


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
