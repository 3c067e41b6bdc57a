"""Where compiled code is kept: one folder for all processes of a user, and none that others may write to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numba
import pytest

from worker.engine.compiled import compiling


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, of a user whose cache cannot be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/caches")
    for name in ("NUMBA_CACHE_DIR", compiling.COMPILING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_cache_the_next_process_finds_the_same_folder(temporary: Path) -> None:
    first = compiling._folder()
    assert first.parent == temporary and first.stat().st_mode & 0o777 == 0o700
    assert compiling._folder() == first
    assert list(temporary.iterdir()) == [first]


def test_what_others_could_have_put_there_is_never_run(temporary: Path) -> None:
    planned = compiling._folder()
    planned.chmod(0o777)
    assert compiling._folder() != planned
    planned.rmdir()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    planned.symlink_to(elsewhere)
    found = compiling._folder()
    assert found not in (planned, elsewhere) and not found.is_symlink()


def test_a_loop_is_looked_for_on_disk_at_its_first_call_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "code_folder", lambda: tmp_path)
    for name in ("CACHE_DIR", "CACHE_LOCATOR_CLASSES"):
        monkeypatch.setattr(numba.config, name, "")

    def twice(number: float) -> float:
        return 2 * number

    loops: list[Any] = [compiling.compiled(twice), compiling.compiled(twice)]
    assert not list(tmp_path.iterdir())
    assert [loop(1.5) for loop in loops] == [3, 3]
    assert list(tmp_path.rglob("*twice*.nbc"))
    found = [(sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())) for loop in loops]
    assert found == [(0, 1), (1, 0)]
