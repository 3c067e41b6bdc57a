"""Prompts that died, as commands tell of them, and `inkmill retry` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contract.failures import REMEDIES, FailureCode
from contract.settings import Settings
from db.models import Prompt
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.inkmill.conftest import DEMO, Told, finish

TOO_LONG = "the prompt has 900 tokens"


def die(code: FailureCode) -> None:
    """Every dead prompt died of that."""
    database = open_database(Settings().sql_url)
    with database.write() as connection:
        connection.execute(Prompt.__table__.update().where(Prompt.status == "dead").values(code=code.value))
    database.close()


def settings_of_prompts() -> list[object]:
    database = open_database(Settings().sql_url)
    with database.read() as connection:
        found = list(connection.scalars(Prompt.__table__.select().with_only_columns(Prompt.settings)))
    database.close()
    return found


def test_a_status_groups_what_died_and_says_what_helps(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    finish(told, dead={0: TOO_LONG, 1: "the prompt has 901 tokens"})
    die(FailureCode.TOO_LONG)
    assert run(["status", "1"]) == 0
    shown = capsys.readouterr().out
    assert "2 dead: too-long: the prompt has 900 tokens" in shown
    assert "prompt 1, prompt 2; retry them with --on-too-long" in shown and "FILE.errors.jsonl" in shown
    assert run(["status", "1", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["failures_by_code"].items()
    assert group == (
        "too-long",
        {
            "prompts": 2, "reason": TOO_LONG, "custom_ids": [], "positions": [0, 1],
            "advice": REMEDIES[FailureCode.TOO_LONG].advice, "retry_with": ["--on-too-long", "truncate-left"],
        },
    )  # fmt: skip


def test_settings_of_a_retry_are_for_what_died(told: Told) -> None:
    finish(told, dead={0: "x", 1: "y"})
    die(FailureCode.TOO_LONG)
    told("retry", "1", "--code", "bad-prompt", "--on-too-long", "shorten")
    assert settings_of_prompts() == [None, None]
    told("retry", "1", "--code", "too-long", "--on-too-long", "shorten", "--length", "9")
    assert settings_of_prompts() == [{"on_too_long": "shorten", "max_new_tokens": 9}] * 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--code", "to-long"), "--code to-long: is not a reason for which prompts die; did you mean too-long?"),
        (("--n", "3"), "n: a retry writes the texts that are missing"),
        (("--on-too-long", "cut"), "must be refuse or truncate-left or truncate-right or shorten, not 'cut'"),
    ],
)
def test_what_a_retry_cannot_do_is_refused(
    told: Told, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    finish(told, dead={0: "x"})
    assert run(["retry", "1", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_submit_says_which_prompts_are_too_long(told: Told, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = json.dumps({"prompt": "The captain went down to the river. " * 99 + "x"})
    (folder / "p.jsonl").write_text('{"prompt": "a"}\n' + long + "\n")
    assert run(["submit", "p.jsonl", *DEMO, "--json"]) == 0
    said = capsys.readouterr()
    assert "note: 1 prompt is too long for the model's window" in said.err and "(line 2)" in said.err
    assert json.loads(said.out)["too_long"] == 1
    told("submit", "p.jsonl", *DEMO, "--on-too-long", "truncate-left")
