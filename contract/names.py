"""How users name models and classifiers: a built-in name, a Hub id, or a path."""

from __future__ import annotations

import os
from pathlib import Path

from common.near_misses import did_you_mean
from contract.errors import UsageError
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY


def check_utf8(name: str) -> None:
    """Refuses a name of the system's that is no text: databases and JSON take none.

    Raises:
        UsageError: with its odd bytes spelled out.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise UsageError(
            f"{shown}: is not UTF-8, and could be neither stored nor shown; rename it, or give a prompt file as '-', "
            "standard input"
        ) from None


def model_name(said: str) -> str:
    """The name under which a model is stored and served: an absolute path where a path was said, else as it is.

    A bare name is never a path, so that a folder called gpt2 does not stand in for the Hub's gpt2.

    Raises:
        UsageError: where a path was said and nothing lies there.
    """
    path = local_path(said)
    if path is None:
        return said
    if not path.is_dir():
        raise UsageError(f"--model {said}: there is no folder {path}; give a model's folder, a Hub id, or demo")
    return str(path)


def safety_name(said: str) -> str:
    """The name under which a classifier is stored and served.

    Raises:
        UsageError: where it is neither a built-in name nor a path that exists.
    """
    names = (*BUILT_IN_CLASSIFIERS, NO_SAFETY)
    if said in names:
        return said
    path = local_path(said) or (_stored(Path(said).absolute()) if Path(said).exists() else None)
    if path is None:
        hint = did_you_mean(said, names, f"use one of {', '.join(names)}, or a checkpoint's path")
        raise UsageError(f"--safety {said}: is not a classifier; {hint}")
    if not path.exists():
        raise UsageError(f"--safety {said}: there is no file {path}; give a checkpoint in Detoxify's layout")
    return str(path)


def local_path(name: str) -> Path | None:
    """The path that a name stands for: one that begins like a path, or holds a separator and is there."""
    path = Path(name).expanduser()
    marked = name.startswith((".", "~", os.sep))
    return _stored(path.absolute().resolve()) if marked or (os.sep in name and path.exists()) else None


def _stored(path: Path) -> Path:
    check_utf8(str(path))
    return path
