"""The parts of a training by themselves: the order of blocks, remarks on curves, torn checkpoints, the card's cells."""

from __future__ import annotations

import errno
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.tunings.prepared_corpus import Part
from worker.tuning.blocks import IGNORED, Blocks
from worker.tuning.callbacks import remarks
from worker.tuning.checkpoints import Checkpoints, disk_is_full
from worker.tuning.result.card import cell, curves


def part(count: int, loss: list[int] | None = None) -> Part:
    masked = None if loss is None else np.array(loss, np.uint8)
    return Part(np.arange(count, dtype=np.uint16), masked, np.zeros((1, 3), np.int64))


@pytest.mark.parametrize(("count", "block"), [(2, 1), (10, 3), (11, 5), (12, 11), (100, 7)])
def test_an_epoch_predicts_every_token_but_the_first_once(count: int, block: int) -> None:
    available = part(count).block_count(block)
    blocks = Blocks(part(count), block=block, count=3 * available, seed=5, filler=0)
    epochs = [
        [int(label) for i in range(available) for label in blocks[epoch * available + i]["labels"] if label != IGNORED]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(1, count)) for epoch in epochs)
    if available > 3:
        assert epochs[0] != epochs[1] != epochs[2]
    for index in range(available):
        inputs, labels = blocks[index]["input_ids"], blocks[index]["labels"]
        assert len(inputs) == len(labels) == block
        assert torch.equal(inputs[labels != IGNORED] + 1, labels[labels != IGNORED])


def test_what_is_only_read_is_not_learned() -> None:
    block = Blocks(part(6, [0, 0, 1, 1, 0, 1]), block=5, count=1, seed=None, filler=0)[0]
    assert block["input_ids"].tolist() == [0, 1, 2, 3, 4]
    assert block["labels"].tolist() == [IGNORED, 2, 3, IGNORED, 5]


def test_some_of_the_blocks_are_spread_over_all_of_them() -> None:
    blocks = Blocks(part(101), block=10, count=4, seed=None, filler=0)
    assert [int(blocks[i]["input_ids"][0]) for i in range(4)] == [0, 20, 50, 70]


def history(*entries: tuple[float | None, float]) -> list[dict[str, float]]:
    """(training loss, validation loss), a validation every ten steps."""
    told: list[dict[str, float]] = []
    for number, (training, validation) in enumerate(entries, 1):
        if training is not None:
            told.append({"step": 10 * number, "loss": training})
        told.append({"step": 10 * number, "eval_loss": validation})
    return told


def test_a_validation_that_rises_while_training_falls_is_told() -> None:
    (said,) = remarks(history((3.0, 3.1), (2.5, 2.9), (2.0, 3.0)), patience=3)
    assert "rose from 2.900 to 3.000 at step 30 while training loss fell from 2.500 to 2.000" in said


def test_a_validation_that_rises_with_the_training_is_not() -> None:
    assert remarks(history((3.0, 3.1), (2.5, 2.9), (2.6, 3.0)), patience=3) == []
    assert remarks(history((3.0, 3.1)), patience=1) == []


def test_that_training_stops_early_is_told() -> None:
    said = remarks(history((3.0, 3.1), (2.5, 3.2), (2.0, 3.15)), patience=2)
    assert said == ["no better validation loss in 2 evaluations in a row: training stops early at step 30"]


def checkpoint(folder: Path, step: int, *, best: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {
        "best_global_step": best,
        "stateful_callbacks": {"TrainerControl": {"args": {"should_training_stop": False}}},
    }
    (path / "trainer_state.json").write_text(json.dumps(state))
    (path / "optimizer.pt").write_bytes(b"moments")
    return path


def test_a_checkpoint_counts_by_its_marker(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoint(tmp_path, 2, best=2)
    checkpoints.seal(2)
    checkpoint(tmp_path, 10, best=2)
    last = checkpoints.last()
    assert last is not None and last.step == 2
    checkpoints.remove_torn()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((1, 1), (2, 2), (3, 2), (10, 2)):
        checkpoint(tmp_path, step, best=best)
        checkpoints.seal(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    best = checkpoints.best()
    assert best is not None and best.step == 2 and not (best.folder / "optimizer.pt").exists()


def test_a_full_disk_is_known_by_any_name(tmp_path: Path) -> None:
    assert disk_is_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert disk_is_full(
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), tmp_path
    )
    assert not disk_is_full(RuntimeError("PytorchStreamWriter failed writing file data/0"), tmp_path)  # there is room
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"), tmp_path)


def test_curves_give_the_mean_training_loss_between_validations() -> None:
    told = [{"step": 1, "loss": 4.0}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.5}]
    assert list(curves(told)) == [(2, 3.0, 2.5)]
    assert list(curves(told[:2])) == [(1, 4.0, None), (2, 2.0, None)]


def test_a_cell_shows_any_text_as_it_is() -> None:
    assert cell("a|b\n<img src=x> *c*\n") == "a\\|b<br>&lt;img src=x&gt; \\*c\\*"


@pytest.mark.long
def test_the_methods_of_the_trainer_that_we_stand_in_for_take_what_they_took() -> None:
    """An upgrade that moved them would leave ours unused: blocks in another order, checkpoints without their marker."""
    from transformers import Trainer

    seams = {
        "_get_train_sampler": ["self", "train_dataset"],
        "get_batch_samples": ["self", "epoch_iterator", "num_batches", "device"],
        "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
        "evaluation_loop": [
            *("self", "dataloader", "description", "prediction_loss_only", "ignore_keys", "metric_key_prefix"),
        ],
        "_save_checkpoint": ["self", "model", "trial"],
    }
    for name, parameters in seams.items():
        assert list(inspect.signature(getattr(Trainer, name)).parameters) == parameters
    source = inspect.getsource(Trainer._run_epoch)
    assert "self._maybe_log_save_evaluate(" in source and "self.get_batch_samples(" in source
