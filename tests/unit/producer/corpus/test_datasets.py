"""Data sets, of a local folder: the Hub's go through the same function of the package datasets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import BadCorpus, UsageError
from producer.corpus.documents.dataset_source import dataset_digest
from producer.corpus.order import CorpusDataset
from tests.unit.producer.corpus.conftest import Prepared, jsonl

Prepare = Callable[..., Prepared]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for the package."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def tales(tmp_path: Path) -> str:
    folder = tmp_path / "tales"
    folder.mkdir()
    rows = [{"text": f"Tale {number}.", "year": number} for number in range(600)]
    (folder / "train.jsonl").write_text(jsonl([*rows, {"text": None, "year": 1}, {"text": "Tale 3.", "year": 9}]))
    (folder / "test.jsonl").write_text(jsonl([{"text": "Of the test.", "year": 1}]))
    return str(folder)


def test_a_split_of_a_data_set_is_a_corpus(prepare: Prepare, tales: str) -> None:
    prepared = prepare({}, CorpusDataset(tales), validation=0.0)
    assert prepared.train == [f"Tale {number}." for number in range(600)]
    assert (prepared.corpus.empty, prepared.corpus.duplicates) == (1, 1)
    (file,) = prepared.described["files"]
    assert file["name"] == f"{tales}/train" and len(file["sha256"]) == 64
    assert prepared.corpus.train.documents[599].tolist()[1:] == [0, 600]
    assert prepare({}, CorpusDataset(tales, split="test")).train[0].startswith("Of")


def test_a_data_set_without_texts_is_refused_by_its_columns(prepare: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    (folder / "train.jsonl").write_text(jsonl([{"year": 1, "month": 2}]))
    with pytest.raises(UsageError, match=r"numbers/train: has neither .*Columns: year, month"):
        prepare({}, CorpusDataset(str(folder)))
    with pytest.raises(BadCorpus, match="line 1: year: must be text, not a number"):
        prepare({}, CorpusDataset(str(folder)), text_column="year")


def test_what_is_no_data_set_is_told(prepare: Prepare, tales: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read .*check it, --config and --split"):
        prepare({}, CorpusDataset(str(tmp_path / "absent")))
    with pytest.raises(UsageError, match=r"cannot be read .*--split"):
        prepare({}, CorpusDataset(tales, split="nosuch"))


def test_a_missing_package_is_named(prepare: Prepare, tales: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="pip install datasets; or give the texts as a file"):
        prepare({}, CorpusDataset(tales))


def test_the_hash_of_a_data_set_is_that_of_its_texts_as_they_are_now(tales: str) -> None:
    before = dataset_digest(tales, None, "train", None)
    path = Path(tales) / "train.jsonl"
    path.write_text(path.read_text().replace('"year": 1}', '"year": 2}'))
    assert dataset_digest(tales, None, "train", None) == before  # nobody looks at that column
    path.write_text(path.read_text().replace("Tale 7.", "Story 7."))
    assert dataset_digest(tales, None, "train", None) != before
