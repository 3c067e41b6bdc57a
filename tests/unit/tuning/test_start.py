"""What a training process finds out before it loads or trains anything: packages, devices, another tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.errors import ModelUnavailable, UsageError
from contract.tunings.prepared_corpus import DESCRIPTION, PreparedCorpus
from tests.unit.tuning.small_corpus import tales, write_corpus
from tests.unit.tuning.test_settled import settled
from tests.unit.tuning.tuning_run import small_tuning
from worker.engine.load.checkpoint import find_checkpoint
from worker.tuning.base_model import BaseModel
from worker.tuning.main import visible_gpu
from worker.tuning.process.events import Events
from worker.tuning.process.folder import TuningFolder, write_json
from worker.tuning.process.interruption import Interruption
from worker.tuning.process.other_device import OtherDevice
from worker.tuning.training import check_tokens, device_kind, train


def begin(folder: Path) -> list[str]:
    """Trains, as far as it comes; returns what it said."""
    said: list[str] = []
    with pytest.raises(OtherDevice, match="began on cuda, and goes on there only; here it would run on cpu"):
        train(TuningFolder(folder), Events(said.append), Interruption())
    return said


def test_an_adapter_without_peft_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_tuning(tmp_path, lora_rank=4)
    (folder / "corpus" / DESCRIPTION).unlink()
    monkeypatch.setattr("worker.tuning.base_model.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--lora needs the package peft"):
        train(TuningFolder(folder), Events(lambda line: None), Interruption())


def test_what_began_on_another_kind_of_device_is_left_to_it_and_says_where(tmp_path: Path) -> None:
    folder = small_tuning(tmp_path)
    write_json(folder / "settled.json", settled(device="cuda").to_json())
    assert [json.loads(line) for line in begin(folder)] == [{"kind": "settled", "device": "cuda"}]


def test_the_device_that_it_began_on_comes_before_any() -> None:
    assert device_kind("auto", "cpu") == device_kind("cpu", None) == device_kind("cpu", "cuda") == "cpu"
    with pytest.raises(ModelUnavailable, match="there is no device 'tpu'"):
        device_kind("tpu", None)


@pytest.mark.parametrize(
    ("visible", "number", "seen"),
    [(None, 0, "0"), (None, 2, "2"), ("", 0, ""), ("-1", 0, "-1"), ("3", 0, "3"), ("3,5", 1, "5"), ("3", 1, "")],
)
def test_a_gpu_that_is_hidden_stays_hidden(visible: str | None, number: int, seen: str) -> None:
    assert visible_gpu(visible, number) == seen


def test_a_corpus_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    """Its tokens would be other words, and a vocabulary of the same size does not show it."""
    base = BaseModel(find_checkpoint("demo"), None, None, "")
    folder = write_corpus(tmp_path / "corpus", tales(2))
    told = json.loads((folder / DESCRIPTION).read_bytes())
    assert told["tokenizer"] == base.tokenizer_digest()
    (folder / DESCRIPTION).write_text(json.dumps(told | {"tokenizer": "0" * 64}))
    with pytest.raises(UsageError, match=r"another tokenizer \(SHA-256 000000000000…\).*--again"):
        check_tokens(PreparedCorpus.open(folder), base)
