"""How users name models (a built-in name, a Hub id with or without its revision, or a path), classifiers and jobs."""

from __future__ import annotations

import os
from pathlib import Path

from common.near_misses import did_you_mean
from contract.errors import UsageError
from contract.model_kinds.gguf import gguf_problem, is_gguf
from contract.model_kinds.hub_model import HubModel, revision_problem
from contract.model_kinds.model_folders import check_model, not_a_folder
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY

LONGEST_JOB_NAME = 200


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


def model_name(name: str) -> str:
    """The name under which a model is stored and served: a path made absolute, any other name as it is.

    A bare name is never a folder, so that a folder called gpt2 does not stand in for the Hub's gpt2.

    Raises:
        UsageError: it is empty, or a path where there is neither a folder nor a GGUF file.
    """
    if not name.strip():
        raise UsageError("--model: is empty; give demo, a Hub id such as gpt2, or a folder, or leave it out")
    path = local_path(name)
    if path is None:
        return name
    if not path.is_dir() and (problem := gguf_problem(path) if is_gguf(path) else not_a_folder(path)):
        raise UsageError(f"--model {name}: {problem}")
    return str(path)


def with_revision(model: str, revision: str | None) -> str:
    """The name of that revision of a model: revisions of one model are models of their own.

    Args:
        model: as `model_name` returns it.

    Raises:
        UsageError: the model can have no such revision.
    """
    if revision is None:
        return model
    if Path(model).is_absolute():
        raise UsageError(f"--revision {revision}: is for models of the Hub, and {model} lies here; leave it out")
    if "@" in model:
        raise UsageError(f"--revision {revision}: the model {model} names a revision already; leave one of them out")
    named = HubModel(model, revision)
    if problem := revision_problem(named):
        raise UsageError(f"--revision: {problem}")
    return str(named)


def checked_model(name: str, revision: str | None = None) -> str:
    """`model_name`, `with_revision`, of a model that is about to be loaded here.

    Raises:
        UsageError: no worker could load it, as far as its name and its files show.
    """
    known = with_revision(model_name(name), revision)
    check_model(known)
    return known


def job_name(name: str) -> str:
    """The name under which a job is listed.

    Raises:
        UsageError: it is empty or too long, or has characters that no terminal shows.
    """
    if not name.strip():
        raise UsageError("--name: is empty; give the job a name, or leave it out to use the file's")
    if len(name) > LONGEST_JOB_NAME:
        raise UsageError(f"--name: has {len(name):,} characters; use at most {LONGEST_JOB_NAME}")
    if not name.isprintable():
        raise UsageError(f"--name {name!r}: contains control characters; leave them out")
    return name


def safety_name(name: str) -> str:
    """The name under which a classifier is stored and served.

    Raises:
        UsageError: it is neither a built-in name nor an existing path.
    """
    names = (*BUILT_IN_CLASSIFIERS, NO_SAFETY)
    if not name.strip():
        raise UsageError(f"--safety: is empty; give one of {', '.join(names)}, or leave it out")
    if name in names:
        return name
    path = local_path(name) or (_stored(Path(name).absolute()) if Path(name).exists() else None)
    if path is None:
        hint = did_you_mean(name, names, f"use one of {', '.join(names)}, or a checkpoint's path")
        raise UsageError(f"--safety {name}: is not a classifier; {hint}")
    if not path.exists():
        raise UsageError(f"--safety {name}: there is no file {path}; give a checkpoint in Detoxify's layout")
    return str(path)


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
    return _stored(_resolved(path.absolute())) if marked or (os.sep in name and path.exists()) else None


def _resolved(path: Path) -> Path:
    """Without links; a GGUF file keeps its name, which says what it is: the Hub's cache has links to nameless files."""
    return path.parent.resolve() / path.name if is_gguf(path) else path.resolve()


def _stored(path: Path) -> Path:
    check_utf8(str(path))
    return path
