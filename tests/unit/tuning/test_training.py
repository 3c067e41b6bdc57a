"""The training process with the demonstration model: what it leaves, that it goes on after a kill to the very bits, and
how it ends where it cannot go on."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.disk import can_mount, small_disk
from contract.tunings.order import TuningExit
from tests.unit.tuning.tuning_run import TuningRun, small_tuning

OVERFITTING: dict[str, Any] = {
    "epochs": 40, "learning_rate": 0.004, "dropout": 0.1, "tokens_per_update": 256, "block": 64, "rows": 2,
    "evaluations_per_epoch": 1, "patience": 2, "checkpoint_seconds": 0.2, "sample_prompts": ("TALE",), "seed": 3,
}  # fmt: skip
"""It learns a tiny corpus by heart within seconds, with random numbers in every step, and is stopped early."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TuningRun:
    """A run that nobody disturbed."""
    run = TuningRun(small_tuning(tmp_path_factory.mktemp("undisturbed"), **OVERFITTING))
    assert run.finish() == TuningExit.DONE, run.events
    return run


def weights(run: TuningRun) -> bytes:
    return (run.folder / "result" / "model.safetensors").read_bytes()


def test_what_is_left_is_a_model_with_its_card(undisturbed: TuningRun) -> None:
    result = undisturbed.folder / "result"
    told = json.loads((result / "inkmill.json").read_text())
    assert told["perplexity_after"] < told["perplexity_before"] / 10
    assert told["corpus"][0]["name"] == "tales.txt" and told["copied"]["samples"] == 32
    card = (result / "README.md").read_text()
    for part in ("## Corpus", "## Curves", "## Samples", "## What it copied", "## Settings", told["base_revision"]):
        assert part in card
    assert (result / "tokenizer.json").exists() and (result / "copied").is_dir()
    assert not (undisturbed.folder / "checkpoints").exists()


def test_it_stops_early_says_so_and_keeps_the_best(undisturbed: TuningRun) -> None:
    losses = {event["step"]: event["loss"] for event in undisturbed.of_kind("validation") if event["step"]}
    notes = " ".join(event["text"] for event in undisturbed.of_kind("note"))
    assert "training stops early" in notes and "learn the corpus by heart" in notes
    told = json.loads((undisturbed.folder / "result" / "inkmill.json").read_text())
    assert told["best_step"] == min(losses, key=lambda step: losses[step])
    assert told["best_step"] < max(losses)


def test_three_kills_change_no_bit_of_the_weights(undisturbed: TuningRun, tmp_path: Path) -> None:
    chance = random.Random(str(tmp_path))
    folder, kills = small_tuning(tmp_path, **OVERFITTING), 0
    while kills < 3:
        run = TuningRun(folder)
        left = chance.randrange(1, len(undisturbed.events) // 2)
        for _ in run.listen():
            left -= 1
            if left == 0:
                assert run.kill() == -signal.SIGKILL
                kills += 1
                break
        assert left == 0, f"it ended before it was killed: {run.events[-1]}"
    run = TuningRun(folder)
    assert run.finish() == TuningExit.DONE, run.events
    assert weights(run) == weights(undisturbed)


@pytest.mark.long
def test_after_sigterm_it_goes_on_from_a_checkpoint(undisturbed: TuningRun, tmp_path: Path) -> None:
    run = TuningRun(small_tuning(tmp_path, **(OVERFITTING | {"checkpoint_seconds": 300})))
    assert any(event["kind"] == "train" and event["step"] == 9 for event in run.listen())
    assert run.kill(signal.SIGTERM) == TuningExit.INTERRUPTED
    again = TuningRun(run.folder)
    assert again.finish() == TuningExit.DONE
    assert again.of_kind("train")[0]["step"] >= 9  # after step 8 there was a validation
    assert weights(again) == weights(undisturbed)


@pytest.mark.long
@pytest.mark.skipif(not can_mount(), reason="only root may mount a small disk")
def test_a_full_disk_pauses_it(undisturbed: TuningRun, tmp_path: Path) -> None:
    folder = small_tuning(tmp_path, **OVERFITTING)
    with small_disk(folder, 80) as disk:
        run = TuningRun(folder)
        for event in run.listen():
            if event["kind"] == "train" and event["step"] == 3:
                disk.fill()
                break
        assert run.finish() == TuningExit.DISK_FULL
        assert "no space left" in run.events[-1]["text"] and run.events[-1]["code"] == "disk_full"
        disk.free()
        again = TuningRun(folder)
        assert again.finish() == TuningExit.DONE, again.events[-3:]
        assert weights(again) == weights(undisturbed)


def test_what_is_finished_is_not_done_again(undisturbed: TuningRun) -> None:
    before = os.stat(undisturbed.folder / "result.json").st_mtime_ns
    again = TuningRun(undisturbed.folder)
    assert again.finish() == TuningExit.DONE
    assert {event["kind"] for event in again.events} <= {"alive"}, "it says that it lives, and nothing else"
    assert os.stat(undisturbed.folder / "result.json").st_mtime_ns == before


def test_a_base_that_is_not_there_is_an_exit_status_of_its_own(tmp_path: Path) -> None:
    run = TuningRun(small_tuning(tmp_path, base=str(tmp_path / "nowhere")))
    assert run.finish() == TuningExit.UNREACHABLE
    assert run.events[-1]["code"] == "unreachable" and "nowhere" in run.events[-1]["text"]


@pytest.mark.long
def test_a_base_that_changed_is_refused(tmp_path: Path) -> None:
    run = TuningRun(small_tuning(tmp_path, base_revision="0" * 16))
    assert run.finish() == TuningExit.UNREACHABLE
    assert "has changed" in run.events[-1]["text"]


@pytest.mark.long
def test_a_learning_rate_that_is_too_high_is_told(tmp_path: Path) -> None:
    asked = {"learning_rate": 1.0, "warmup": 0.0, "steps": 60, "weight_decay": 10.0, "block": 64}
    run = TuningRun(small_tuning(tmp_path, **asked))
    status = run.finish()
    if status != TuningExit.DONE:  # whether it comes to that depends on the machine
        assert run.events[-1]["code"] == "diverged" and "--learning-rate" in run.events[-1]["text"]


@pytest.mark.long
def test_one_document_without_validation_works(tmp_path: Path) -> None:
    run = TuningRun(small_tuning(tmp_path, documents=1, validation=0, steps=3))
    assert run.finish() == TuningExit.DONE, run.events
    assert any("no validation part" in event["text"] for event in run.of_kind("note"))
    told = json.loads((run.folder / "result" / "inkmill.json").read_text())
    assert told["perplexity_after"] is None and told["settings"]["block"] < 64


@pytest.mark.long
def test_an_adapter_is_merged_at_the_end_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    asked = {"lora_rank": 4, "steps": 12, "block": 64, "evaluations_per_epoch": 1, "checkpoint_seconds": 0.05}
    whole = TuningRun(small_tuning(tmp_path / "whole", **asked))
    assert whole.finish() == TuningExit.DONE, whole.events
    killed = TuningRun(small_tuning(tmp_path / "killed", **asked))
    assert any(event["kind"] == "train" and event["step"] == 5 for event in killed.listen())
    killed.kill()
    again = TuningRun(killed.folder)
    assert again.finish() == TuningExit.DONE, again.events
    assert weights(again) == weights(whole)
    assert not list((whole.folder / "result").glob("adapter*"))


@pytest.mark.long
def test_prompts_are_read_and_not_learned_and_activations_may_be_computed_again(tmp_path: Path) -> None:
    asked = {"dtype": "fp32", "gradient_checkpointing": True, "steps": 10, "block": 64, "prompt": "Tell me a tale: "}
    run = TuningRun(small_tuning(tmp_path, **asked))
    assert run.finish() == TuningExit.DONE, run.events
    assert run.of_kind("samples")[0]["samples"][1]["prompt"] == "Tell me a tale: "
    config = json.loads((run.folder / "result" / "config.json").read_text())
    assert config["use_cache"] is True and config["dtype"] == "float32"


@pytest.mark.long
def test_a_kill_after_the_last_step_only_makes_the_model_again(undisturbed: TuningRun, tmp_path: Path) -> None:
    run = TuningRun(small_tuning(tmp_path, **OVERFITTING))
    assert any("training stops early" in event.get("text", "") for event in run.listen())
    assert any(event["kind"] == "samples" for event in run.listen())
    (run.folder / "checkpoints" / "checkpoint-99").mkdir()  # as if the next one had been begun
    for _ in run.listen():
        if (run.folder / ".result").exists():
            break
    assert run.kill() == -signal.SIGKILL
    again = TuningRun(run.folder)
    assert again.finish() == TuningExit.DONE and not again.of_kind("train")
    assert weights(again) == weights(undisturbed)
