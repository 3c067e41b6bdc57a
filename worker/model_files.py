"""The files that a model is read from: their names, and the hash that names their revision.

transformers looks for more files than these, and lets a configuration name others. A model read from a file that was
not hashed would write texts under the wrong revision, so such files are kept out of its sight.
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
from contract.model_kinds.model_folders import TOKENIZER_FILES

REVISION_DIGITS = 16

TOKENIZER_EXTRAS = (
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("bpe.codes", "emoji.json"),
)

REDIRECTS = {
    "config.json": ("transformers_weights", "configuration_files"),
    "tokenizer_config.json": ("fast_tokenizer_files",),
}
"""By file: the entries that make transformers read a file of another name."""


def config_and_tokenizer_files(folder: Path) -> tuple[str, ...]:
    """The names of the configuration and tokenizer files that a folder has, sorted.

    Raises:
        ModelUnavailable: one of them names another file to read.
    """
    known = ("config.json", *TOKENIZER_FILES, *TOKENIZER_EXTRAS)
    present = tuple(sorted(name for name in known if (folder / name).is_file()))
    for name in REDIRECTS.keys() & set(present):
        _refuse_redirects(folder / name)
    return present


def _refuse_redirects(path: Path) -> None:
    try:
        settings = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # the library that reads it will say what is wrong with it
    for entry in REDIRECTS[path.name]:
        if isinstance(settings, dict) and settings.get(entry):
            raise ModelUnavailable(
                f"{path}: {entry} names other files to read ({str(settings[entry])[:100]!r}), which the model's "
                "revision would not cover; give that file its usual name, and remove the entry"
            )


def hash_files(folder: Path, names: Iterable[str], digest: Any = None) -> Any:
    """A SHA-256 over files, each by its name, size and bytes.

    Args:
        digest: the one to update; None = a new one.
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
def isolated_folder(paths: Iterable[Path]) -> Iterator[Path]:
    """A folder with links to these files and nothing else, since the library would also read other files it finds."""
    with tempfile.TemporaryDirectory(prefix="inkmill-") as temporary:
        for path in paths:
            (Path(temporary) / path.name).symlink_to(path.resolve())
        yield Path(temporary)


@contextmanager
def refuse_changes(paths: Sequence[Path]) -> Iterator[None]:
    """For a block that reads and hashes these files.

    Raises:
        ModelUnavailable: one was changed meanwhile, so that what was loaded may not be what was hashed.
    """
    before = [_file_version(path) for path in paths]
    yield
    for path, version_before in zip(paths, before, strict=True):
        if _file_version(path) != version_before:
            raise ModelUnavailable(
                f"{path} was changed while it was loaded; start again once nothing writes to it any more"
            )


def _file_version(path: Path) -> tuple[int, ...] | None:
    try:
        present = os.stat(path)
    except OSError:
        return None
    return present.st_dev, present.st_ino, present.st_size, present.st_mtime_ns, present.st_ctime_ns
