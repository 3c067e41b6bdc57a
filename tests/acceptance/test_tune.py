"""The example that tunes, run as a user runs it, while what trains is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from db.session.engine import Database
from db.tuning.tunings import StoredTuning, list_tunings
from tests.acceptance.conftest import Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "tune.sh"


def processes(home: Home, word: str) -> list[psutil.Process]:
    """The processes of this home that have a word in their command."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            ours = word in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE
            if ours and process.environ().get("INKMILL_HOME") == str(home.folder):
                found.append(process)
    return found


def trainers(home: Home) -> list[psutil.Process]:
    return processes(home, "worker.tuning.main")


def wait(home: Home, met: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not met():
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.05)


def tuning(database: Database) -> StoredTuning | None:
    return next(iter(list_tunings(database)), None)


@pytest.mark.timeout(600)
def test_the_example_makes_its_model_and_writes_with_it_though_training_and_worker_are_killed(home: Home) -> None:
    home.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = (home.folder / "example.log").open("wb")
    example = subprocess.Popen(["sh", str(EXAMPLE)], env=home.env, cwd=home.folder, stdout=log, stderr=log)
    home.started.append(example)
    wait(home, lambda: list(home.folder.glob("models/.tunings/*/checkpoints/*/complete")))
    first = trainers(home)
    for process in first:
        process.kill()
    wait(home, lambda: set(trainers(home)) - set(first))
    for process in processes(home, "--only-tunings"):  # the worker, which its training process outlives for a moment
        process.kill()
    assert example.wait(500) == 0, home.logs()
    with closing(home.database()) as database:
        made = tuning(database)
    assert made is not None and (made.status, made.model) == ("completed", "proverbs@1")
    notes = [note["text"] for note in (made.progress or {})["notes"]]
    assert any("goes on" in note for note in notes), notes
    lines = [json.loads(line) for line in (home.folder / "texts.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and {line["model"] for line in lines} == {"proverbs@1"}
    assert (home.folder / "models" / "proverbs" / "README.md").exists()
    assert not list((home.folder / "models" / ".tunings").iterdir())
