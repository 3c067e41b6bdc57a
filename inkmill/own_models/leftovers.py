"""What killed commands and workers left in INKMILL_MODELS, and when it may go.

What is at work holds a lock, and stays. Nothing is touched that the database of somebody else may count on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from contract.errors import NoSuchModel
from contract.model_kinds.own_model import OwnModel
from contract.spec import TuningStatus
from contract.tunings.folder import CORPUS, ORDER, TUNINGS
from contract.tunings.prepared_corpus import DESCRIPTION
from db.session.engine import Database
from db.tuning.models import find_model
from db.tuning.tunings import tuning_in_folder
from inkmill.own_models.folder_lock import locked

IMPORT, REMOVED = ".import-", ".removed-"
"""What the names begin with of folders that are not a model yet, or no longer."""
TUNING_LOCKS = ("preparing.lock", "lock")
"""In a tuning's folder: held by the command that prepares the corpus, and by the process that trains."""
UNPREPARED_SECONDS = 3600.0
UNKNOWN_SECONDS = 7 * 86400.0
"""A prepared corpus that no tuning has: the command that was killed after it takes it up again for so long."""


def sweep(database: Database, models: Path) -> None:
    """Removes what was left, where there is a folder of models at all."""
    if models.is_dir():
        with swept(database, models):
            pass


@contextmanager
def swept(database: Database, models: Path) -> Iterator[None]:
    """Holds the folder of models, which has to be there, after what was left in it is gone."""
    with locked(models) as alone:
        if alone:
            _remove_imports(models)
            _settle_removals(database, models)
            _remove_tunings(database, models)
        yield


def _remove_imports(models: Path) -> None:
    for folder in models.glob(f"{IMPORT}*"):
        with suppress(OSError), locked(folder, wait=False) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


def _settle_removals(database: Database, models: Path) -> None:
    """A model whose removal did not get as far as the database comes back; others go. Removing holds the folder of
    models, so none of these is under way."""
    for aside in models.glob(f"{REMOVED}*"):
        own = OwnModel.parse(aside.name.removeprefix(REMOVED).rpartition("-")[0])
        place = models / own.folder.name if own else aside
        if own and _is_recorded(database, own) and not place.exists():
            with suppress(OSError):
                aside.rename(place)
        else:
            shutil.rmtree(aside, ignore_errors=True)


def _is_recorded(database: Database, own: OwnModel) -> bool:
    try:
        find_model(database, own.name, own.version)
    except NoSuchModel:
        return False
    return True


def _remove_tunings(database: Database, models: Path) -> None:
    for folder in (models / TUNINGS).glob("*"):
        with suppress(OSError), ExitStack() as held:
            locks = [folder / name for name in TUNING_LOCKS if (folder / name).exists()]
            free = all(held.enter_context(locked(lock, wait=False)) for lock in locks)
            if free and _is_over(database, folder):  # looked at under the locks: a command stores its tuning under one
                shutil.rmtree(folder, ignore_errors=True)


def _is_over(database: Database, folder: Path) -> bool:
    tuning = tuning_in_folder(database, folder.name)
    if tuning is not None:
        return tuning.status is TuningStatus.COMPLETED
    if (folder / ORDER).exists():  # it was trained: another database has it
        return False
    prepared = (folder / CORPUS / DESCRIPTION).exists()
    return _untouched(folder) > (UNKNOWN_SECONDS if prepared else UNPREPARED_SECONDS)


def _untouched(folder: Path) -> float:
    """Seconds since anything in a tuning's folder was made or written."""
    changed = (path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time() - max(changed)
