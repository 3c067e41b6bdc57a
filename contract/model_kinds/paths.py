"""Paths of models and classifiers as users give them: made whole, and text that a database can hold."""

from __future__ import annotations

import os
from pathlib import Path

from contract.errors import UsageError
from contract.model_kinds.gguf import is_gguf


def check_utf8(name: str) -> None:
    """Refuses a file name that is not text: neither a database nor JSON can hold it.

    Raises:
        UsageError: with its undecodable bytes spelled out.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise UsageError(
            f"{shown}: this name is not UTF-8 and cannot be stored; rename it, or give a prompt file as '-', "
            "standard input"
        ) from None


def local_path(name: str) -> Path | None:
    """The path that a name stands for: one that begins like a path, or ends like a GGUF file's, or contains a
    separator and exists.

    Raises:
        UsageError: it begins with ~NAME, and there is no such user; or it is no UTF-8.
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{name}: there is no such user as {name.partition(os.sep)[0]}; write the whole path"
        ) from None
    marked = name.startswith((".", "~", os.sep)) or is_gguf(name)
    return storable(_resolved(path.absolute())) if marked or (os.sep in name and path.exists()) else None


def storable(path: Path) -> Path:
    """Raises UsageError where a path is not text."""
    check_utf8(str(path))
    return path


def _resolved(path: Path) -> Path:
    """Without links; a GGUF file keeps its name, which says what it is: the Hub's cache has links to nameless files."""
    return path.parent.resolve() / path.name if is_gguf(path) else path.resolve()
