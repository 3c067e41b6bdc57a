"""Which tunings a worker could take: one that it cannot read, or many that are elsewhere, keep it from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.tunings.folder import tuning_folder
from db.session.engine import Database, open_database
from db.tuning.tunings import NewTuning, insert_tuning
from worker.tunings_here import tunings_here, why_not_here


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
    yield found
    found.close()


def waits(database: Database, folder: str) -> int:
    return insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder=folder))


def test_a_folder_that_the_system_refuses_is_refused_in_words(database: Database, tmp_path: Path) -> None:
    waits(database, "x" * 300)  # for which every system call fails
    number = waits(database, "here")
    (tuning_folder(tmp_path, "here") / "corpus").mkdir(parents=True)
    assert tunings_here(database, tmp_path, "cpu") == [number]
    assert str(why_not_here(database, tmp_path, "cpu")).startswith("cannot take t1: its ")


def test_many_that_are_elsewhere_hide_none_that_is_here(database: Database, tmp_path: Path) -> None:
    for number in range(65):
        waits(database, f"elsewhere-{number}")
    number = waits(database, "here")
    (tuning_folder(tmp_path, "here") / "corpus").mkdir(parents=True)
    assert tunings_here(database, tmp_path, "cpu") == [number]
