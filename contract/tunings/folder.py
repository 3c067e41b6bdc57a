"""Where a tuning keeps its corpus and its checkpoints: a folder of its own under INKMILL_MODELS, beside the models.

Whoever submits it writes the corpus there, and whoever trains reads it: on two machines only where they share that
folder.
"""

from __future__ import annotations

from pathlib import Path

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
    models.mkdir(parents=True, exist_ok=True)
    return private_folder(tuning_folder(models, name))


def is_here(models: Path, name: str) -> bool:
    """Whether this machine has the tuning's corpus: SQL may be shared with machines that share no folder."""
    return (tuning_folder(models, name) / CORPUS).is_dir()
