"""`inkmill reflag` as it is typed: which thresholds it changes, and which it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.errors import ExitCode
from contract.policy import LABELS
from contract.settings import Settings
from db.jobs.jobs import get_job
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
        assert run(["reflag", "1", *words]) == ExitCode.DONE
        assert get_job(desk.database, 1).thresholds == thresholds
    assert run(["reflag", "1"]) == ExitCode.USAGE
    assert "--reset-thresholds" in capsys.readouterr().err
