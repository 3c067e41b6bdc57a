"""What the training process says while it has no steps yet: it lives, for as long as that may take."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from worker.tuning.process import events
from worker.tuning.process.events import Events


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(events, "BUSY_SECONDS", 0.01)
    return []


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def loads() -> bool:
    return any(thread.name == "signs of loading" for thread in threading.enumerate())


def test_loading_gives_signs_of_life_until_the_training_speaks(said: list[str]) -> None:
    speaker = Events(said.append)
    speaker.loading()
    assert [json.loads(line) for line in said[:1]] == [{"kind": "alive"}], "at once: an interpreter has started"
    until(lambda: len(said) > 3)
    speaker.note("goes on")
    until(lambda: not loads())
    assert {"kind": "note", "text": "goes on"} in map(json.loads, said[-2:])


def test_loading_that_never_ends_falls_silent(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOADING_SECONDS", 0.05)
    Events(said.append).loading()
    until(lambda: not loads())
    assert len(said) > 1
