"""What killed commands left in INKMILL_MODELS: it goes, or comes back, and what is at work stays."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from contract.settings import Settings
from contract.tunings.folder import new_tuning_folder
from db.session.engine import Database, open_database
from db.tuning.models import NewModel, add_model, remove_model
from db.tuning.tunings import NewTuning, insert_tuning
from db.tuning_models import Tuning
from inkmill.own_models.leftovers import sweep

TALES = NewModel(name="tales", base="demo", base_revision=None, revision="a" * 16)


@pytest.fixture
def store(folder: Path) -> Path:
    found = Settings().models_folder
    found.mkdir(parents=True)
    return found


@pytest.fixture
def database(store: Path) -> Iterator[Database]:
    found = open_database(Settings().sql_url)
    yield found
    found.close()


def left(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def tuning(store: Path, name: str, *files: str, days: float = 0) -> Path:
    """The folder of a tuning that nobody has touched for some days."""
    made = new_tuning_folder(store, name)
    for file in ("preparing.lock", *files):
        (made / file).parent.mkdir(exist_ok=True)
        (made / file).write_text("{}")
    past = time.time() - days * 86400
    for path in (*made.rglob("*"), made):
        os.utime(path, (past, past))
    return made


@contextmanager
def at_work(file: Path) -> Iterator[None]:
    lock = os.open(file, os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
    os.close(lock)


def test_a_removal_that_was_killed_is_taken_back_or_ended(store: Path, database: Database) -> None:
    add_model(database, TALES, lambda version: str(store / "tales"))
    recorded = left(store / ".removed-tales@1-aaaa1111")
    add_model(database, TALES, lambda version: str(store / "tales@2"))
    remove_model(database, "tales@2")
    removed, unknown = left(store / ".removed-tales@2-bbbb2222"), left(store / ".removed-songs@1-cccc3333")
    sweep(database, store)
    assert [path.exists() for path in (recorded, removed, unknown)] == [False] * 3
    assert (store / "tales" / "config.json").is_file() and not (store / "tales@2").exists()


def test_what_a_completed_tuning_left_goes_and_what_may_go_on_stays(store: Path, database: Database) -> None:
    completed, failed = tuning(store, "done", "lock", days=90), tuning(store, "failed", "order.json", days=90)
    for name, status in (("done", "completed"), ("failed", "failed")):
        number = insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder=name))
        with database.write() as connection:
            connection.execute(update(Tuning).where(Tuning.id == number).values(status=status))
    with at_work(completed / "lock"):
        sweep(database, store)
    assert completed.exists() and failed.exists()
    sweep(database, store)
    assert not completed.exists() and failed.exists()


def test_what_an_interrupted_preparation_left_goes_after_a_while(store: Path, database: Database) -> None:
    described = "corpus/corpus.json"
    old, new = tuning(store, "old", "corpus/train.tokens", days=1), tuning(store, "new", "corpus/train.tokens")
    forgotten, taken_up = tuning(store, "forgotten", described, days=8), tuning(store, "taken-up", described, days=6)
    elsewhere = tuning(store, "elsewhere", described, "order.json", days=90)  # of another database
    with at_work(old / "preparing.lock"):
        sweep(database, store)
    assert old.exists() and not forgotten.exists()
    sweep(database, store)
    assert not old.exists()
    assert all(folder.exists() for folder in (new, taken_up, elsewhere))


def test_where_there_is_no_folder_of_models_none_is_made(folder: Path) -> None:
    database = open_database(Settings().sql_url)
    sweep(database, Settings().models_folder)
    assert not Settings().models_folder.exists()
    database.close()
