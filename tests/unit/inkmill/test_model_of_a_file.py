"""A model that is named on the command line and in the file: the command line wins, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.settings import Settings
from db.jobs.jobs import get_job
from db.session.engine import open_database
from tests.unit.inkmill.conftest import Told


def requests(*models: str | None) -> None:
    lines = [
        {"custom_id": str(i), "url": "/v1/completions", "body": {"prompt": "Once"} | ({"model": m} if m else {})}
        for i, m in enumerate(models)
    ]
    Path("r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("models", [("gpt2", "gpt2"), ("gpt2", None, "gpt2-large")])
def test_the_command_line_wins_over_the_lines(told: Told, folder: Path, models: tuple[str | None, ...]) -> None:
    requests(*models)
    said = told("submit", "r.jsonl", "--model", "demo", "--safety", "demo")
    assert "note: --model demo wins over 'gpt2', which its lines name" in said
    assert get_job(open_database(Settings().sql_url), 1).model == "demo"


def test_the_same_model_twice_is_no_news(told: Told, folder: Path) -> None:
    requests("demo")
    assert "wins over" not in told("submit", "r.jsonl", "--model", "demo", "--safety", "demo")
    assert "wins over" not in told("submit", "r.jsonl", "--safety", "demo", "--again")


def test_lines_that_name_two_models_say_how_to_choose_one(told: Told, folder: Path) -> None:
    requests("gpt2", "gpt2-large")
    assert "or choose one for all with --model" in told("submit", "r.jsonl", "--safety", "demo", code=2)
