"""`models import`: a checkpoint of another program becomes a model of one's own, whole or not at all.

How a checkpoint is read is not known here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from contract.errors import ModelUnavailable
from contract.model_kinds.own_model import OwnModel, check_own_name, newest
from contract.settings import private_folder
from db.session.engine import Database
from db.tuning.models import NewModel, StoredModel, add_model

WORK = ".import-"  # what the names of unfinished folders begin with


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
    with _new_folder(models) as folder:
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
        here = newest(name)
        new = NewModel(
            name=name, base=None, base_revision=None, revision=imported.revision, source=str(source),
            settings=import_settings(imported),
        )  # fmt: skip
        try:
            return add_model(database, new, place, after=here.version if here else 0)
        except BaseException:
            for target in placed:  # nobody knows of it
                target.rename(folder)
            raise


@contextmanager
def _new_folder(models: Path) -> Iterator[Path]:
    """A folder for unfinished work, locked while it is worked on, and gone afterwards unless it was renamed."""
    with _locked(private_folder(models)):
        _remove_abandoned(models)
        folder = Path(tempfile.mkdtemp(prefix=WORK, dir=models))
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        lock = _lock(folder)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(models: Path) -> None:
    """Removes what imports left that were killed. Those that are at work hold a lock."""
    for folder in models.glob(f"{WORK}*"):
        with suppress(BlockingIOError), _locked(folder, fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int = 0) -> Iterator[None]:
    lock = _lock(folder, how)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int = 0) -> int:
    """Locks a folder until what is returned is closed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
