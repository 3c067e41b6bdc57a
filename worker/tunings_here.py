"""Which waiting tunings a worker could take: those whose folders are on its machine."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from contract.tunings.folder import is_here, why_not_usable
from db.session.engine import Database
from db.tuning.claims import waiting_tunings
from db.tuning.tunings import tuning_reference

LOOKED_AT = 100_000
"""More tunings than ever wait: those that are elsewhere must not hide the ones that are here."""
CLAIMED_AMONG = 64


def tunings_here(database: Database, models: Path, device: str) -> list[int]:
    """The numbers of those that a worker could claim now, the oldest first, as many as a claim needs.

    Args:
        models: INKMILL_MODELS as it is here.
        device: the worker's.
    """
    waiting = waiting_tunings(database, device, LOOKED_AT)
    here = (one.tuning_id for one in waiting if is_here(models, one.folder))
    return list(islice(here, CLAIMED_AMONG))


def why_not_here(database: Database, models: Path, device: str) -> str | None:
    """Why this worker refuses a tuning that waits; None where it refuses none."""
    for one in waiting_tunings(database, device, LOOKED_AT):
        if why := why_not_usable(models, one.folder):
            return f"cannot take {tuning_reference(one.tuning_id)}: {why}"
    return None
