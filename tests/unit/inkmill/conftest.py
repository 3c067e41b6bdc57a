"""What the tests of commands share: a working folder with a prompt file, and workers in miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.settings import Settings
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.producer.exports.conftest import Mill

DEMO = ("--model", "demo", "--safety", "demo", "--seed", "1")
PROMPTS = '{"prompt": "mine"}\n{"prompt": "too"}\n'
Told = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a prompt file in it."""
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("inkmill.startup.settings", Settings)
    monkeypatch.setattr("producer.submit.settings", Settings)
    monkeypatch.setattr("contract.model_kinds.own_model.settings", Settings)
    found = tmp_path / "work"
    found.mkdir()
    monkeypatch.chdir(found)
    (found / "p.jsonl").write_text(PROMPTS)
    return found


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs a command that has to end with `code`. Returns what it said."""

    def telling(*words: str, code: int = 0) -> str:
        assert run(list(words)) == code, capsys.readouterr().err
        return capsys.readouterr().err

    return telling


def work(dead: Any = None) -> None:
    """What workers do of all jobs."""
    database = open_database(Settings().sql_url)
    mill = Mill(database)
    mill.generate(dead=dead)
    mill.score()
    database.close()


def finish(told: Told, *words: str, dead: Any = None) -> None:
    told("submit", "p.jsonl", *DEMO, *words)
    work(dead)
