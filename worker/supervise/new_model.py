"""A finished model on its way into the store: its folder gets its name there, and SQL a row, in one go.

A kill between the two leaves a folder that SQL does not know; whoever has the tuning next finds it and records it.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from contract.model_kinds.own_model import DESCRIPTION, OwnModel, last_version
from contract.settings import write_private
from db.session.engine import Database
from db.tuning.claims import TuningClaim
from db.tuning.models import NewModel, StoredModel, complete_tuning

RESULT, DONE, MOVED = "result", "result.json", "moved.json"
"""In a tuning's folder: the new model, what says that it is whole, and which version it was given."""


def is_trained(folder: Path) -> bool:
    """Whether the model of a tuning is whole, wherever it lies by now."""
    return (folder / DONE).exists()


def store_model(database: Database, claim: TuningClaim, folder: Path) -> StoredModel:
    """Moves a trained model into the store and records it; then the tuning is completed, and its folder removed.

    Raises:
        LeaseLost: the tuning is another worker's now; nothing is moved.
        ModelUnavailable: what was trained is no model.
        OSError: it cannot be moved.
    """
    moved = _moved(claim.name, folder)
    if moved is None:
        place = partial(_move, claim.name, folder)
        here = partial(last_version, claim.name)
        stored = complete_tuning(database, claim, _described(claim, folder / RESULT), place, after=here)
    else:
        described = _described(claim, moved.folder)
        stored = complete_tuning(database, claim, described, lambda _: str(moved.folder), version=moved.version)
    rmtree(folder, ignore_errors=True)
    return stored


def _moved(name: str, folder: Path) -> OwnModel | None:
    """Where a worker that was killed had moved the model, before it could be recorded."""
    if (folder / RESULT).exists() or not (folder / MOVED).exists():
        return None
    return OwnModel(name, json.loads((folder / MOVED).read_bytes())["version"])


def _move(name: str, folder: Path, version: int) -> str:
    """Gives the model its folder in the store: whole or not at all, and never over another one."""
    model = OwnModel(name, version)
    card = folder / RESULT / DESCRIPTION
    write_private(card, json.dumps(_card(folder / RESULT) | {"version": version}, ensure_ascii=False, indent=2) + "\n")
    card.chmod((folder / RESULT).stat().st_mode & 0o666)
    write_private(folder / MOVED, json.dumps({"version": version}))
    (folder / RESULT).rename(model.folder)  # refused where there is a folder with anything in it
    return str(model.folder)


def _described(claim: TuningClaim, folder: Path) -> NewModel:
    card = _card(folder)
    known = {name: card[name] for name in ("perplexity_before", "perplexity_after") if name in card}
    return NewModel(
        name=claim.name,
        base=claim.base,
        base_revision=card.get("base_revision"),
        revision=revision_of(folder),
        corpus=card.get("corpus", ()),
        settings=card.get("settings", {}),
        **known,
    )


def revision_of(folder: Path) -> str:
    """The hash of a model's files, as provenances have it."""
    from worker.engine.load.checkpoint import in_folder  # the Hub's library with it, which a parent seldom needs

    return in_folder(folder).revision()


def _card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
    return card
