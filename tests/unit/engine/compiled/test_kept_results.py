"""What is found by trying is found once a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.engine.compiled import kept_results
from worker.engine.compiled.kept_results import kept_result

KIND = (64, 192, False, "fp32", 2)


def kept(kind: tuple[object, ...], trials: Trials) -> int | None:
    result: int | None = kept_result("rows", kind, trials, lambda known: known in (None, 2, 8) and known is not True)
    return result


class Trials:
    """Counts how often a product was tried."""

    def __init__(self, *found: int | None) -> None:
        self._found, self.made = found, 0

    def __call__(self) -> int | None:
        self.made += 1
        return self._found[self.made - 1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept_results, "code_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("found", [2, 8, None])
def test_something_is_tried_once(found: int | None) -> None:
    trials = Trials(found)
    assert [kept(KIND, trials) for _ in range(3)] == [found] * 3
    assert trials.made == 1


def test_another_kind_another_build_and_another_setting_are_tried_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = Trials(2, 8, None, 2)
    assert kept(KIND, trials) == 2
    assert kept((*KIND[:-1], 3), trials) == 8
    with monkeypatch.context() as patch:
        patch.setattr("torch.__version__", "0.0")
        assert kept(KIND, trials) is None
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert kept(KIND, trials) == 2


@pytest.mark.parametrize("text", ["", "3", "[2]", '"2"', "{", "true"])
def test_what_cannot_have_been_found_is_tried_again(folder: Path, text: str) -> None:
    kept(KIND, Trials(2))
    (file,) = folder.iterdir()
    file.write_text(text)
    assert kept(KIND, Trials(8)) == 8
    assert kept(KIND, Trials()) == 8


def test_where_nothing_can_be_kept_it_is_tried_every_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_results, "code_folder", lambda: folder / "gone")
    trials = Trials(2, 2)
    assert [kept(KIND, trials) for _ in range(2)] == [2, 2]
    assert trials.made == 2
