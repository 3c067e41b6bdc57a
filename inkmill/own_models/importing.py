"""`models import`: a checkpoint of another program becomes a model of one's own, whole or not at all.

How a checkpoint is read is not known here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from contract.errors import ModelUnavailable
from contract.model_kinds.own_model import OwnModel, check_own_name, last_version, make_models_folder
from db.session.engine import Database
from db.tuning.models import NewModel, StoredModel, add_model
from inkmill.own_models.folder_lock import locked
from inkmill.own_models.leftovers import IMPORT, swept


def import_model(
    database: Database, models: Path, source: Path, name: str, tokenizer: str | None, say: Callable[[str], object]
) -> StoredModel:
    """Imports a checkpoint under the next version of a name.

    Args:
        models: the folder of models of one's own.
        source: the checkpoint's folder, or its one file.
        tokenizer: the one to take in place of its own; None = its own.
        say: is told what is being done.

    Raises:
        UsageError: nobody's own model can have that name, or the checkpoint cannot be used.
        ModelUnavailable: torch is missing, or the model or its tokenizer cannot be loaded.
    """
    check_own_name(name)
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and models import needs it: pip install 'inkmill[worker]'")
    from worker.importing.importing import import_checkpoint
    from worker.importing.model_card import import_settings, write_card

    source = source.expanduser().absolute()
    with _new_folder(database, models) as folder:
        imported = import_checkpoint(source, folder, tokenizer, say)
        _keep(folder)  # before the database is locked, since it may take long

        def place(version: int) -> str:
            write_card(folder, imported, name=name, version=version, source=str(source))
            target = OwnModel(name, version).folder
            _keep(folder)
            folder.rename(target)
            placed.append(target)
            return str(target)

        placed: list[Path] = []
        new = NewModel(
            name=name, base=None, base_revision=None, revision=imported.revision, source=str(source),
            settings=import_settings(imported),
        )  # fmt: skip
        try:
            return add_model(database, new, place, after=partial(last_version, name))
        except BaseException:
            for target in placed:  # nobody knows of it
                target.rename(folder)
            raise


@contextmanager
def _new_folder(database: Database, models: Path) -> Iterator[Path]:
    """A folder for unfinished work, locked while it is worked on, and gone afterwards unless it was renamed."""
    with ExitStack() as held:
        with swept(database, make_models_folder(models)):
            folder = Path(tempfile.mkdtemp(prefix=IMPORT, dir=models))
            folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private
            held.enter_context(locked(folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _keep(folder: Path) -> None:
    """Has everything in a folder written to the disk, and readable for workers that run as somebody else."""
    for path in folder.iterdir():
        path.chmod(0o666 & ~_umask())  # safetensors' files are private
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
