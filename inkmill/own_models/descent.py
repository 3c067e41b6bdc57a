"""Where a stored text comes from: the model that wrote it, what that one was taught, its base, and so on back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract.errors import NoSuchModel
from contract.model_kinds.own_model import OwnModel
from db.session.engine import Database
from db.tuning.lineage import LearnedOutput, WrittenOutput, count_learned, learned_outputs, written_output
from db.tuning.models import find_model
from inkmill.own_models.catalogue import KnownModel, find_in_catalogue, recorded_model


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One of the models on the way, and the stored outputs in its corpus."""

    model: KnownModel
    learned: Sequence[LearnedOutput]  # the first ones, where only so many are wanted
    learned_total: int


@dataclass(frozen=True, slots=True)
class Descent:
    """An output with the models of one's own on its way: first the one that wrote it, then that one's base."""

    output: WrittenOutput
    ancestors: Sequence[Ancestor]  # none where a model of others wrote it


def trace(database: Database, output_id: int, *, limit: int | None = None) -> Descent:
    """Where an output comes from.

    Args:
        limit: at most so many learned outputs of each model; None = all.

    Raises:
        NoSuchOutput: there is none of that number.
    """
    output = written_output(database, output_id)
    ancestors: list[Ancestor] = []
    name: str | None = output.model
    while name and (model := _known(database, name)):
        if any(model.own == before.model.own for before in ancestors):
            break  # a description that names itself
        ancestors.append(_ancestor(database, model, limit))
        name = model.base
    return Descent(output, ancestors)


def _known(database: Database, name: str) -> KnownModel | None:
    """A model of one's own, removed or not; None where it is none, or nothing is known of it."""
    own = OwnModel.parse(name)
    if own is None:
        return None
    try:
        stored = find_model(database, own.name, own.version, removed=True)
        return recorded_model(stored, here=stored.removed_at is None and own.folder.is_dir())
    except NoSuchModel:
        pass
    try:
        return find_in_catalogue(database, name)
    except NoSuchModel:
        return None


def _ancestor(database: Database, model: KnownModel, limit: int | None) -> Ancestor:
    if model.tuning is None:
        return Ancestor(model, (), 0)
    number = int(model.tuning.removeprefix("t"))
    return Ancestor(model, learned_outputs(database, number, limit), count_learned(database, number))
