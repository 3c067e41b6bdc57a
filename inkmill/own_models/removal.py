"""Removing a model: what is lost with it, whether to do it, and doing it so that a crash leaves it whole or gone."""

from __future__ import annotations

import secrets
import shutil
import sys
from contextlib import nullcontext

import typer

from common.wording import counted
from contract.errors import InkmillError, UsageError
from db.session.engine import Database
from db.tuning.models import NewModel, needed_by, outputs_made_with, remove_model
from inkmill.own_models.catalogue import KnownModel, catalogue
from inkmill.own_models.leftovers import REMOVED, swept
from inkmill.show.display import command_line
from inkmill.show.terminal import messages

SHOWN_NEEDS = 5


def check_unneeded(database: Database, model: KnownModel) -> None:
    """Refuses to remove a model that something under way cannot do without.

    Raises:
        UsageError: naming the jobs and tunings.
    """
    if needs := needed_by(database, str(model)):
        raise needed(model, needs)


def needed(model: KnownModel, needs: list[str]) -> UsageError:
    """What to say where jobs or tunings need a model."""
    more = f" and {len(needs) - SHOWN_NEEDS:,} more" if len(needs) > SHOWN_NEEDS else ""
    verbs = ("needs", "is") if len(needs) == 1 else ("need", "are")
    return UsageError(
        f"models rm: {', '.join(needs[:SHOWN_NEEDS])}{more} {verbs[0]} {model} and {verbs[1]} not over; nothing was "
        "removed. Wait for that, or cancel it first"
    )


def confirm_removal(database: Database, model: KnownModel, *, yes: bool) -> bool:
    """Says what is lost with a model, and asks. Returns whether to go on.

    Args:
        yes: do not ask.

    Raises:
        UsageError: nobody is there to be asked.
    """
    texts = outputs_made_with(database, str(model))
    messages.print(
        f"{counted(texts, 'stored output was', 'stored outputs were')} written with {model}"
        + (", and can no longer be made again without it" if texts else ""),
        markup=False,
    )
    if not model.here:
        messages.print(f"note: the folder of {model}, {model.folder}, is not in this machine's store", markup=False)
    others = [str(other) for other in catalogue(database) if other.name == model.name and other.own != model.own]
    if others:
        messages.print(f"{', '.join(others)} {'stays' if len(others) == 1 else 'stay'}", markup=False)
    if yes:
        return True
    if sys.stdin is not None and sys.stdin.isatty() and messages.is_terminal:
        return typer.confirm(f"remove {model}?", err=True)
    raise UsageError(
        "models rm: there is no terminal to ask on; nothing was removed. To remove it all the same: "
        + command_line("models", "rm", str(model), "--yes")
    )


def remove(database: Database, model: KnownModel) -> None:
    """Removes a model from SQL's list and its folder from the store.

    Raises:
        UsageError: a job or a tuning has come to need it; nothing was removed.
        InkmillError: its folder cannot be removed; then it stays whole.
    """
    models = model.folder.parent
    aside = models / f"{REMOVED}{model}-{secrets.token_hex(4)}"

    def set_aside() -> None:
        if model.here:
            model.folder.rename(aside)

    with swept(database, models) if models.is_dir() else nullcontext():
        try:
            needs = remove_model(database, str(model), set_aside, unrecorded=_as_new(model))
        except OSError as error:
            raise InkmillError(f"{model.folder} cannot be removed: {error.strerror}; nothing was removed") from None
        if needs:
            raise needed(model, needs)
        shutil.rmtree(aside, ignore_errors=True)


def _as_new(model: KnownModel) -> NewModel:
    """What is known of a model, as SQL would record it."""
    known = {name: getattr(model, name) for name in NewModel.__dataclass_fields__}
    return NewModel(**known | {"revision": model.revision or ""})
