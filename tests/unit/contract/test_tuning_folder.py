"""A tuning's folder: whether it can be worked on from here, in words where it cannot, and who may enter it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.tunings.folder import CORPUS, is_here, new_tuning_folder, why_not_usable

NOBODY = 65534


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """For a block in which this process may not enter a folder, even where it runs as root."""
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
        folder.chmod(0o700)


def test_a_folder_of_another_user_is_refused_in_words(tmp_path: Path) -> None:
    folder = new_tuning_folder(tmp_path, "work")
    (folder / CORPUS).mkdir()
    assert is_here(tmp_path, "work") and why_not_usable(tmp_path, "work") is None
    with as_somebody_else(folder):
        here, why = is_here(tmp_path, "work"), why_not_usable(tmp_path, "work")
    assert not here
    assert why is not None and "Permission denied" in why
    assert "workers that share INKMILL_MODELS have to run as that user" in why


def test_a_folder_that_is_elsewhere_is_refused_in_words(tmp_path: Path) -> None:
    assert not is_here(tmp_path, "work")
    assert f"its corpus should be in {tmp_path / '.tunings' / 'work'}" in str(why_not_usable(tmp_path, "work"))


def test_what_is_made_is_its_owners_alone_and_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    made, shared = tmp_path / "made", tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    for models in (made, shared):
        assert new_tuning_folder(models, "work").stat().st_mode & 0o777 == 0o700
    assert made.stat().st_mode & 0o777 == 0o700
    assert shared.stat().st_mode & 0o777 == 0o755
