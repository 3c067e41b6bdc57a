"""How users name models (a built-in name, one of their own, a Hub id with or without its revision, or a path),
classifiers and jobs."""

from __future__ import annotations

from pathlib import Path

from common.near_misses import did_you_mean
from contract.errors import UsageError
from contract.model_kinds.gguf import gguf_problem, is_gguf
from contract.model_kinds.hub_model import HubModel, revision_problem
from contract.model_kinds.model_folders import (
    hub_id_problem,
    model_folder_problem,
    not_a_folder,
    path_problem,
    shows_a_model,
)
from contract.model_kinds.own_model import OwnModel, find_own_model, own_model_folder
from contract.model_kinds.paths import local_path, storable
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY

LONGEST_JOB_NAME = 200


def model_name(name: str) -> str:
    """The name under which a model is stored and served: a path made absolute, a model of one's own with its version,
    any other name as it is.

    A bare name is never a folder here, so that a folder called gpt2 does not stand in for the Hub's gpt2.

    Raises:
        UsageError: it is empty, a path where there is neither a folder nor a GGUF file, or a version that a model of
            one's own does not have.
    """
    if not name.strip():
        raise UsageError("--model: is empty; give demo, a Hub id such as gpt2, or a folder, or leave it out")
    path = local_path(name)
    if path is None:
        return str(find_own_model(name) or name)
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
    if own := OwnModel.parse(model):
        raise UsageError(
            f"--revision {revision}: is for models of the Hub, and {model} is your own; leave it out, and name a "
            f"version as --model {own.name}@N"
        )
    if "@" in model:
        raise UsageError(f"--revision {revision}: the model {model} names a revision already; leave one of them out")
    named = HubModel(model, revision)
    if problem := revision_problem(named):
        raise UsageError(f"--revision: {problem}")
    if OwnModel.parse(str(named)):
        raise UsageError(
            f"--revision {revision}: {named} would be a version of a model of your own; name the Hub's revision by its "
            "commit"
        )
    return str(named)


def checked_model(name: str, revision: str | None = None) -> str:
    """`model_name`, `with_revision`, of a model that is about to be loaded here.

    Raises:
        ModelUnavailable: it names a version of a model of one's own that is not here.
        UsageError: no worker could load it, as far as its name and its files show.
    """
    known = with_revision(model_name(name), revision)
    own_model_folder(known)
    check_model(known)
    return known


def check_model(name: str) -> None:
    """Refuses a model that no worker could load, before anything is stored. A version of one's own that is not here
    may be where the worker is.

    Args:
        name: as `model_name` returns it.

    Raises:
        UsageError: with the sentence that a worker would say.
    """
    path, own = Path(name), OwnModel.parse(name)
    if own is not None:
        problem = model_folder_problem(own.folder) if own.folder.is_dir() else None
    else:
        problem = path_problem(path) if path.is_absolute() else hub_id_problem(name)
    if problem:
        raise UsageError(problem)


def folder_of_that_name(name: str) -> str | None:
    """What to know of a model's name where a folder here is called alike, which it does not mean."""
    folder = Path(HubModel.parse(name).id)
    if name == "demo" or folder.is_absolute() or not shows_a_model(folder):
        return None
    meant = "your own model of that name" if OwnModel.parse(name) else "the Hub's model"
    return f"--model {name} is {meant}; for the folder of that name here give --model ./{folder}"


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
    path = local_path(name) or (storable(Path(name).absolute()) if Path(name).exists() else None)
    if path is None:
        hint = did_you_mean(name, names, f"use one of {', '.join(names)}, or a checkpoint's path")
        raise UsageError(f"--safety {name}: is not a classifier; {hint}")
    if not path.exists():
        raise UsageError(f"--safety {name}: there is no file {path}; give a checkpoint in Detoxify's layout")
    return str(path)
