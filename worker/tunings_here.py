"""Which waiting tunings a worker could take: those whose folders are on its machine."""

from __future__ import annotations

from pathlib import Path

from contract.tunings.folder import is_here, tuning_folder
from db.session.engine import Database
from db.tuning.claims import waiting_tunings
from db.tuning.tunings import tuning_reference


def tunings_here(database: Database, models: Path, device: str) -> list[int]:
    """The numbers of those that a worker could claim now, the oldest first.

    Args:
        models: INKMILL_MODELS as it is here.
        device: the worker's.
    """
    return [one.tuning_id for one in waiting_tunings(database, device) if is_here(models, one.folder)]


def why_not_here(database: Database, models: Path, device: str) -> str | None:
    """Why this worker refuses a tuning that waits; None where it refuses none."""
    elsewhere = (one for one in waiting_tunings(database, device) if not is_here(models, one.folder))
    refused = next(elsewhere, None)
    if refused is None:
        return None
    return (
        f"cannot take {tuning_reference(refused.tuning_id)}: its corpus should be in "
        f"{tuning_folder(models, refused.folder)}, where this worker's INKMILL_MODELS is, and is not; share the folder "
        "INKMILL_MODELS between the machines, or start a worker where the tuning was submitted"
    )
