"""The process that trains, as the worker's parent sees it: what it says, whether it hangs, how it ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.supervise.training_process import Event, FolderInUse, TrainingProcess

STUB = (sys.executable, "-IS", str(Path(__file__).with_name("stub_training.py")))
Start = Callable[..., TrainingProcess]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "order.json").write_text(json.dumps({"name": "tales", "base": "demo", "steps": 6}))
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started = []

    def one(program: tuple[str, ...] = STUB) -> TrainingProcess:
        started.append(TrainingProcess(folder, program=program))
        return started[-1]

    yield one
    for process in started:
        process.close()


def until(process: TrainingProcess, kind: str) -> list[Event]:
    said: list[Event] = []
    deadline = time.monotonic() + 60
    while not any(event["kind"] == kind for event in said):
        assert time.monotonic() < deadline
        said += process.events(0.05)
    return said


def to_the_end(process: TrainingProcess) -> tuple[list[Event], int]:
    said: list[Event] = []
    while (status := process.exit_status()) is None:
        said += process.events(0.05)
    return said + process.events(0), status


def test_all_that_it_says_is_heard_in_order_and_a_librarys_words_are_not(start: Start) -> None:
    said, status = to_the_end(start())
    assert status == 0
    assert [event["step"] for event in said if event["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert {event["kind"] for event in said} == {"note", "alive", "settled", "train", "validation", "samples"}


def test_it_is_told_to_stop_and_saves_first(start: Start, folder: Path) -> None:
    process = start()
    until(process, "train")
    process.send_signal(signal.SIGTERM)
    assert to_the_end(process)[1] == 75
    assert list(folder.glob("checkpoints/checkpoint-*"))


def test_two_never_train_in_one_folder_even_where_the_parent_of_the_first_is_gone(start: Start) -> None:
    first = start()
    with pytest.raises(FolderInUse):
        start()
    to_the_end(first)
    start()


def test_a_process_that_never_says_anything_is_silent_once_an_interpreter_would_have_started(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = (sys.executable, "-c", "import time; time.sleep(100)")
    starting = start(silent)
    time.sleep(0.1)
    assert starting.silent_seconds() == 0
    starting.close()
    monkeypatch.setattr("worker.supervise.training_process.STARTING_SECONDS", 0.05)
    hanging = start(silent)
    time.sleep(0.1)
    assert hanging.silent_seconds() > 0.04


def test_a_hanging_process_is_silent(start: Start, folder: Path) -> None:
    (folder / "misbehave").write_text("hang 3")
    process = start()
    deadline = time.monotonic() + 60
    while process.silent_seconds() < 0.5:
        process.events(0.05)
        assert time.monotonic() < deadline


def test_a_reader_that_was_away_takes_no_silence_for_a_hang(start: Start, folder: Path) -> None:
    (folder / "misbehave").write_text("hang 1")
    process = start()
    until(process, "train")
    time.sleep(1.6)  # this process stood still, say
    process.events(0)
    assert process.silent_seconds() < 1


@pytest.mark.parametrize("line", ["b'x' * (3 << 20)", "b'{\"kind\": 7}'", "b'[1]'", "b'{\"kind\"'", "b'\\xff'"])
def test_strange_output_is_passed_over(start: Start, line: str) -> None:
    program = f"import sys; sys.stdout.buffer.write({line} + b'\\n' + b'{{\"kind\": \"alive\"}}\\n')"
    said: Any = to_the_end(start((sys.executable, "-c", program)))
    assert said == ([{"kind": "alive"}], 0)
