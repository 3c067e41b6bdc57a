"""What stands in the training text, compared with a search that tries every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation import copied
from worker.evaluation.copied import CopiedIndex, Place, Run


def longest_by_trying(text: list[int], training: list[int]) -> int:
    best = 0
    for start in range(len(text)):
        for position in range(len(training)):
            length = 0
            while (
                text[start + length : start + length + 1] == training[position + length : position + length + 1] != []
            ):
                length += 1
            best = max(best, length)
    return best


def build(folder: Path, training: list[int], dtype: str = "uint16", **more: object) -> CopiedIndex:
    return CopiedIndex.build(np.array(training, dtype), folder, **more)  # type: ignore[arg-type]


FEW_TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(FEW_TOKENS, FEW_TOKENS, st.sampled_from(["uint16", "uint32"]))
def test_the_run_is_as_long_as_trying_every_place_finds_it_in_parts_too(
    tmp_path_factory: pytest.TempPathFactory, training: list[int], text: list[int], dtype: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copied, "PART", 8)
        patch.setattr(copied, "LONGEST", 40)
        index = build(tmp_path_factory.mktemp("index") / "copied", training, dtype)
        run = index.longest_run(text)
    assert run.length == longest_by_trying(text, training)
    assert (
        training[run.position : run.position + run.length] == text[run.start : run.start + run.length] or not run.length
    )


def test_tokens_of_two_bytes_and_of_four_are_compared_whole(tmp_path: Path) -> None:
    # 0x0102 0x0304 has the bytes of 0x0203 in its middle.
    assert build(tmp_path / "16", [0x0102, 0x0304]).longest_run([0x0203]) == Run(0, -1, -1)
    assert build(tmp_path / "32", [7, 70_000, 70_001, 9], "uint32").longest_run([3, 70_000, 70_001]) == Run(2, 1, 1)


def test_a_run_over_the_end_of_a_part_is_found_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied, "PART", 100)
    training = list(np.random.default_rng(1).permutation(1000))
    assert build(tmp_path, training).longest_run([5000, *training[90:290], 5000]) == Run(200, 90, 1)


def test_a_text_of_one_token_over_and_over_is_no_trouble(tmp_path: Path) -> None:
    assert build(tmp_path, [5] * 20_000).longest_run([1] + [5] * 300).length == 300


def test_a_position_names_its_file_and_line(tmp_path: Path) -> None:
    documents = np.array([[0, 0, 1], [3, 0, 2], [5, 1, 1]])
    built = build(tmp_path, [1, 2, 0, 3, 0, 4, 5], documents=documents, files=("one.txt", "two.jsonl"))
    places = [CopiedIndex.open(tmp_path).place(position) for position in (0, 2, 3, 6)]
    assert places == [Place("one.txt", 1), Place("one.txt", 1), Place("one.txt", 2), Place("two.jsonl", 1)]
    assert built.tokens(5, 9) == [4, 5]


def test_texts_are_counted_by_their_runs(tmp_path: Path) -> None:
    index = build(tmp_path, list(range(100)))
    counted = index.copies([list(range(10, 42)), list(range(31)), [500]])
    assert (counted.texts, counted.long_runs, counted.longest) == (3, 1, Run(32, 10, 0))
    assert index.copies([]).share == 0


def test_an_index_that_was_not_finished_is_none(tmp_path: Path) -> None:
    build(tmp_path, [1, 2, 3])
    (tmp_path / copied.SUFFIXES).write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty|not complete"):
        CopiedIndex.open(tmp_path)
    (tmp_path / copied.DESCRIPTION).unlink()
    with pytest.raises(FileNotFoundError):
        CopiedIndex.open(tmp_path)
