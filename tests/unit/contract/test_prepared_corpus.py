"""What a prepared corpus' reader gives, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import UsageError
from contract.tunings.prepared_corpus import (
    DESCRIPTION,
    TRAIN,
    VALIDATION,
    PreparedCorpus,
    documents_file,
    loss_file,
    token_type,
    tokens_file,
)


def write_corpus(folder: Path, *, train: list[int], validation: list[int], loss: list[int] | None = None) -> None:
    for part, tokens in ((TRAIN, train), (VALIDATION, validation)):
        np.array(tokens, "<u2").tofile(tokens_file(folder, part))
        np.array([[0, 0, 1]] if tokens else [], "<i8").tofile(documents_file(folder, part))
        if loss is not None:
            np.array(loss if part == TRAIN else [1] * len(tokens), np.uint8).tofile(loss_file(folder, part))
    said: dict[str, Any] = {
        "files": [{"name": "a.txt", "sha256": "0" * 64, "documents": 1, "tokens": len(train) + len(validation)}],
        "vocabulary": 300, "end_of_text": 299, "tokenizer": "1" * 64, "dtype": "uint16", "duplicates": 2, "empty": 1,
        "documents": {TRAIN: int(bool(train)), VALIDATION: int(bool(validation))},
        "tokens": {TRAIN: len(train), VALIDATION: len(validation)}, "job": None, "outputs": None,
    }  # fmt: skip
    (folder / DESCRIPTION).write_text(json.dumps(said))


def test_blocks_overlap_by_one_token_and_the_last_is_shorter(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=[5, 6, 7, 8, 9, 299], validation=[])
    train = PreparedCorpus.open(tmp_path).train
    assert [train.block(i, 3).tolist() for i in range(train.block_count(3))] == [[5, 6, 7, 8], [8, 9, 299]]
    assert train.block_count(5) == 1
    assert train.block_loss(0, 3) is None


def test_a_part_without_documents_is_an_empty_one(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=[5, 299], validation=[])
    validation = PreparedCorpus.open(tmp_path).validation
    assert validation.tokens.size == 0 and validation.block_count(8) == 0 and validation.documents.shape == (0, 3)


def test_tokens_that_are_only_read_are_known(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=[5, 6, 299], validation=[7, 299], loss=[0, 1, 1])
    loss = PreparedCorpus.open(tmp_path).train.block_loss(0, 8)
    assert loss is not None and loss.tolist() == [0, 1, 1]


def test_a_folder_without_its_description_holds_no_corpus(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=[5, 299], validation=[])
    (tmp_path / DESCRIPTION).unlink()
    with pytest.raises(UsageError, match="did not finish; prepare it once more"):
        PreparedCorpus.open(tmp_path)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=[5, 6, 299], validation=[])
    tokens_file(tmp_path, TRAIN).write_bytes(b"\0\0")
    with pytest.raises(UsageError, match=r"train.tokens has 2 bytes, not 6"):
        PreparedCorpus.open(tmp_path)


def test_large_vocabularies_take_four_bytes_a_token() -> None:
    assert [token_type(size).str for size in (50257, 65536, 65537)] == ["<u2", "<u2", "<u4"]
