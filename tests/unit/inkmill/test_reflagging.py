"""`inkmill reflag` as it is typed: which thresholds it changes, and which it keeps; what it says and asks first."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.errors import ExitCode
from contract.policy import LABELS
from contract.settings import Settings
from db.jobs.jobs import get_job
from db.jobs.reflag import reflag_job
from db.jobs.reflag_preview import preview_reflag
from db.review.decisions.acts import decide
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.db.desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    config = Settings(home=tmp_path, redis_url="", database_url="")
    monkeypatch.setattr("inkmill.startup.settings", lambda: config)
    database = open_database(config.sql_url)
    yield Desk(database)
    database.close()


def test_labels_that_are_not_named_keep_their_thresholds_unless_they_are_reset(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.outputs_of([{"toxicity": 0.4, "insult": 0.5}], thresholds={"toxicity": 0.6, "insult": 0.2})
    for words, thresholds in (
        (["--threshold", "toxicity=0.5"], {"toxicity": 0.5, "insult": 0.2}),
        (["--threshold", "0.4", "--threshold", "insult=0.9"], dict.fromkeys(LABELS, 0.4) | {"insult": 0.9}),
        (["--threshold", "toxicity=0.5", "--reset-thresholds"], {"toxicity": 0.5}),
        (["--reset-thresholds"], {}),
    ):
        assert run(["reflag", "1", *words, "--yes"]) == ExitCode.DONE
        assert get_job(desk.database, 1).thresholds == thresholds
    assert run(["reflag", "1"]) == ExitCode.USAGE
    assert "--reset-thresholds" in capsys.readouterr().err


TEXTS = ["a turnip", "a calm sea", "an angry man", "an angry turnip"]
SCORES = [0.1, 0.1, 0.9, 0.9]


def flags(desk: Desk) -> list[list[str]]:
    return [row.flag_reasons or [] for row in desk.outputs(1)]


def test_flags_are_not_taken_off_unasked(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk.outputs_of(SCORES, TEXTS, blocklist=("turnip",))
    before = flags(desk)
    words = tmp_path / "my words.txt"
    words.write_text("parsnip\nswede\n")
    assert run(["reflag", "1", "--blocklist", str(words), "--threshold", "toxicity=0.95"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "of 4 scored outputs 3 would lose their flag (blocklist:turnip 2, toxicity 2)" in said
    assert "none of the 2 words of the blocklist is in any of the 4 scored texts" in said
    command = said.strip().rpartition("all the same: ")[2]
    assert flags(desk) == before and get_job(desk.database, 1).blocklist == ("turnip",)
    assert run(shlex.split(command)[shlex.split(command).index("reflag") :]) == ExitCode.DONE
    assert flags(desk) == [[], [], [], []]


def test_flags_that_are_only_added_need_no_answer(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.outputs_of(SCORES, TEXTS, blocklist=("turnip",))
    assert run(["reflag", "1", "--threshold", "toxicity=0.05"]) == ExitCode.DONE
    said = capsys.readouterr().err
    assert "1 would become flagged (toxicity 1); 1 would stay flagged for other reasons" in said
    assert run(["reflag", "1", "--threshold", "toxicity=0.06"]) == ExitCode.DONE
    assert "no flag would change" in capsys.readouterr().err


@pytest.mark.parametrize("chunk", [2, 2000])
def test_what_is_foretold_is_what_happens(desk: Desk, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits count with the scores of the edit, and texts that are not scored not at all."""
    monkeypatch.setattr("db.jobs.reflag.CHUNK_OUTPUTS", chunk)
    outputs = desk.outputs_of([*SCORES, 0.3], [*TEXTS, "a swede"], blocklist=("turnip",))
    decide(desk.database, outputs[0], "anna", "edit", text="no swede, no turnip")
    desk.score_edits(toxicity=0.8)
    for thresholds, words, reset in (
        (None, ("swede", "angry"), False), ({"toxicity": 0.2}, None, False), (None, None, True), (None, (), False),
        ({"toxicity": 0.85}, ("sea",), True),
    ):  # fmt: skip
        before = flags(desk)
        told = preview_reflag(desk.database, 1, thresholds=thresholds, blocklist=words, reset=reset)
        assert flags(desk) == before
        done = reflag_job(desk.database, 1, thresholds=thresholds, blocklist=words, reset=reset)
        pairs = list(zip(before, flags(desk), strict=True))
        assert told.judged == 5
        assert told.flagged == sum(not old and bool(new) for old, new in pairs)
        assert told.unflagged == sum(bool(old) and not new for old, new in pairs)
        assert told.flagged + told.unflagged + told.reworded == sum(old != new for old, new in pairs)
        assert told.gained == Counter(reason for old, new in pairs if not old for reason in new)
        assert told.lost == Counter(reason for old, new in pairs if not new for reason in old)
        assert done.changed == told.flagged + told.unflagged + told.reworded


@pytest.mark.parametrize(("answer", "status", "left"), [("n", ExitCode.FAILED, 3), ("y", ExitCode.DONE, 0)])
def test_on_a_terminal_it_asks(folder: Path, answer: str, status: ExitCode, left: int) -> None:
    database = open_database(Settings().sql_url)
    desk = Desk(database)
    desk.outputs_of(SCORES, TEXTS, blocklist=("turnip",))
    screen, terminal = pty.openpty()
    os.write(screen, f"{answer}\n".encode())
    command = [sys.executable, "-m", "inkmill", "reflag", "1", "--blocklist", os.devnull, "--threshold", "0.95"]
    done = subprocess.run(command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, timeout=60)
    said = os.read(screen, 100_000).decode()
    assert "3 would lose their flag" in said and "apply it?" in said
    assert (done.returncode, sum(map(bool, flags(desk)))) == (status, left)
    for end in (screen, terminal):
        os.close(end)
    database.close()
