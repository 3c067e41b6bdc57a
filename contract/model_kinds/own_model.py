"""Models of one's own: folders under INKMILL_MODELS, told apart by a name and a version.

Version 1 of tales lies in tales/, version 2 in tales@2/. What is stored always names the version (tales@1), so that a
job and its texts keep the one that they began with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import ModelUnavailable, UsageError
from contract.settings import private_folder, settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
DESCRIPTION = "inkmill.json"
"""What a model's folder tells of its way: name, version, base, corpus, what was measured."""
BUILT_IN = "demo"
WELL_KNOWN = frozenset({
    "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "openai-gpt", "ctrl", "transfo-xl-wt103",
    "xlnet-base-cased", "xlnet-large-cased", "bert-base-uncased", "bert-base-cased", "bert-large-uncased",
    "roberta-base", "roberta-large", "distilbert-base-uncased", "t5-small", "t5-base", "t5-large",
})  # fmt: skip
"""Ids of the Hub without an owner, which nobody's own model may take: --model gpt2 is to mean the same everywhere."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A version of a model of one's own. As text it is always NAME@VERSION, as SQL, queues and exports hold it."""

    name: str
    version: int  # from 1 on

    @classmethod
    def parse(cls, text: str) -> OwnModel | None:
        """The model that NAME@VERSION names, whether it is here or not; None where the text is nothing of the kind."""
        name, _, version = text.partition("@")
        if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version) or name.lower() in {BUILT_IN, *WELL_KNOWN}:
            return None
        return cls(name, int(version))

    @property
    def folder(self) -> Path:
        """Where it lies, or would."""
        return settings().models_folder / (self.name if self.version == 1 else str(self))

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def make_models_folder(models: Path) -> Path:
    """INKMILL_MODELS, made where it is missing, for its owner alone: models hold what they were taught (`copied/`). The
    rights of a folder that is there already, which may be shared on purpose, stay as they are."""
    return private_folder(models)


def own_models() -> list[OwnModel]:
    """Every version that is here, by name and version."""
    return sorted(_found(), key=lambda model: (model.name, model.version))


def versions(name: str) -> list[OwnModel]:
    """The versions of a model that are here, the oldest first."""
    return [model for model in own_models() if model.name == name]


def newest(name: str) -> OwnModel | None:
    """The newest version of a model that is here."""
    return next(reversed(versions(name)), None)


def last_version(name: str) -> int:
    """The number of a model's newest version that is here; 0 = none."""
    model = newest(name)
    return model.version if model else 0


def find_own_model(text: str) -> OwnModel | None:
    """The model of one's own that a name means: its newest version, or with @N that one; None where there is none.

    Raises:
        UsageError: there is a model of that name, but not in that version.
    """
    name, marked, version = text.partition("@")
    known = versions(name)
    if not known or not marked:
        return next(reversed(known), None)
    if asked := next((model for model in known if str(model.version) == version), None):
        return asked
    raise UsageError(
        f"{text}: your model {name} has no version {version!r}; there is {', '.join(map(str, known))} "
        f"in {settings().models_folder}"
    )


def own_model_folder(text: str) -> Path | None:
    """The folder of a model as it is stored and served; None where the text names no model of one's own.

    Raises:
        ModelUnavailable: it names a version that is not here.
    """
    model = OwnModel.parse(text)
    if model is None:
        return None
    if model.folder.is_dir():
        return model.folder
    raise ModelUnavailable(
        f"{text} is a model of one's own, and INKMILL_MODELS, which is {settings().models_folder} here, has no folder "
        f"{model.folder.name}; share that folder between the machines, or give another model ('inkmill models' lists "
        "them)"
    )


def description(folder: Path) -> dict[str, Any]:
    """What a model's folder tells of itself; empty where it tells nothing that can be read."""
    try:
        told = json.loads((folder / DESCRIPTION).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def own_name_problem(name: str) -> str | None:
    """Why a new model cannot have a name, with the way out; None if it may."""
    if name.lower() == BUILT_IN:
        return f"{name} is the demonstration model, which comes with Inkmill; choose another name"
    if "/" in name:
        return f"{name} is written like a Hub id or a path; choose a name without a slash"
    if "@" in name:
        return f"{name}: versions are numbered by Inkmill; give the name alone, without @"
    if name.lower() in WELL_KNOWN:
        return f"{name} is a model of the Hub, which --model {name} would no longer mean; choose another name"
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        return (
            f"{name!r} is no model's name: letters, digits, '.', '_' and '-', at most 96, the first a letter or a "
            "digit, and not ending in .gguf; for example tales"
        )
    return None


def check_own_name(name: str) -> None:
    """Refuses a name that a new model cannot have.

    Raises:
        UsageError: saying why.
    """
    if problem := own_name_problem(name):
        raise UsageError(f"--name: {problem}")


def _found() -> Iterator[OwnModel]:
    """What the folder has. A name with a dot first is work in progress, or being removed."""
    try:
        names = [path.name for path in settings().models_folder.iterdir() if path.is_dir()]
    except OSError:  # none was ever made
        return
    for name in names:
        model = OwnModel.parse(name if "@" in name else f"{name}@1")
        if model and model.folder.name == name:  # tales@1 would be tales a second time
            yield model
