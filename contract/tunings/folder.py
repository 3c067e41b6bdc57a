"""Where a tuning keeps its corpus and its checkpoints: a folder of its own under INKMILL_MODELS, beside the models.

Whoever submits it writes the corpus there, and whoever trains reads it: on two machines only where they share that
folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from contract.model_kinds.own_model import make_models_folder
from contract.settings import private_folder

TUNINGS = ".tunings"
ORDER, CORPUS = "order.json", "corpus"


def tuning_folder(models: Path, name: str) -> Path:
    """The folder of a tuning.

    Args:
        models: INKMILL_MODELS as it is here.
        name: as SQL has it.
    """
    return models / TUNINGS / name


def new_tuning_folder(models: Path, name: str) -> Path:
    """The same, made where it is missing; only its owner may enter it."""
    return private_folder(tuning_folder(make_models_folder(models), name))


def is_here(models: Path, name: str) -> bool:
    """Whether this machine has the tuning's corpus, and this user can work on it: SQL may be shared with machines that
    share no folder, and the folder with other users."""
    return why_not_usable(models, name) is None


def why_not_usable(models: Path, name: str) -> str | None:
    """Why a tuning cannot be worked on from here: what is wrong with its folder. None if it can."""
    folder = tuning_folder(models, name)
    try:
        if (folder / CORPUS).is_dir():
            usable = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
            return None if usable else _not_ours(folder, "may not be written to by this user")
    except OSError as error:  # another user's, or a file system that has gone
        return _not_ours(folder, f"cannot be read: {error.strerror}")
    return (
        f"its corpus should be in {folder}, where this worker's INKMILL_MODELS is, and is not; share the folder "
        "INKMILL_MODELS between the machines, or start a worker where the tuning was submitted"
    )


def _not_ours(folder: Path, what: str) -> str:
    return (
        f"its folder {folder} {what}; a tuning's folder is private to the user who submitted it, so workers that "
        "share INKMILL_MODELS have to run as that user"
    )
