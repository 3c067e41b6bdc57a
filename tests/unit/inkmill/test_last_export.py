"""The export at the end of a run, while the database comes and goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from contract.errors import DatabaseUnreachable
from contract.settings import Settings
from db.insights.flaws import count_flaws
from db.insights.pace import read_pace
from db.jobs.status import snapshot
from db.session.engine import Database, open_database
from inkmill.run import RunCommand
from inkmill.show.summary import print_summary
from producer.export import WRITERS, ExportReport, export_job
from producer.submit import SubmitOptions
from tests.conftest import PostgresServer
from tests.unit.producer.exports.conftest import Mill

OUTPUTS = 2200  # more than are fetched at once


@pytest.fixture
def mill(postgres_url: str) -> Iterator[Mill]:
    """A finished job, number 1."""
    mill = Mill(open_database(postgres_url, timeout=2))
    mill.submit(["a"] * OUTPUTS)
    mill.generate(dead={7: "x"})
    mill.score()
    yield mill
    mill.database.close()


@pytest.fixture
def cut(mill: Mill, postgres_server: PostgresServer) -> Callable[[], None]:
    """Ends every connection to the mill's database, as a server does that restarts."""

    def cutting() -> None:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        postgres_server.execute(f"{ending}'{mill.database.url.database}'")

    return cutting


def cutting_writer(cut: Callable[[], None], times: int) -> Any:
    """JSONL whose database goes away in the middle of the first `times` exports."""
    left = iter(range(times))

    def write(outputs: Any, lines: Any, file: Any) -> int:
        if next(left, None) is not None:
            file.write(b"half")
            file.flush()
            cut()
        return write_jsonl(outputs, lines, file)

    write_jsonl = WRITERS["jsonl"]
    return write


def finish(database: Database, out: Path) -> int:
    run = RunCommand(Settings(), database, SubmitOptions(model="demo", default_model="demo", safety="demo"))
    return run._finish(snapshot(database, 1), lambda: export_job(database, 1, out), json=False)


def test_a_connection_lost_during_the_last_export_is_made_again(
    mill: Mill, cut: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(WRITERS, "jsonl", cutting_writer(cut, 2))
    monkeypatch.setattr("inkmill.run.ROUND_SECONDS", 0.01)
    assert finish(mill.database, tmp_path / "o.jsonl") == 5
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == OUTPUTS - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jsonl", "o.jsonl.errors.jsonl"]
    assert "waiting for it before the export" in capsys.readouterr().err


def test_a_database_that_stays_away_at_the_last_export_ends_the_run_with_what_to_do(
    mill: Mill, cut: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WRITERS, "jsonl", cutting_writer(cut, 1000))
    monkeypatch.setattr("inkmill.run.ROUND_SECONDS", 0.01)
    monkeypatch.setattr("inkmill.run.UNREACHABLE_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(
        DatabaseUnreachable, match="nothing was lost: once it does, run the same command to export job 1"
    ):
        finish(mill.database, tmp_path / "o.jsonl")
    assert 1 <= time.monotonic() - began < 30
    assert DatabaseUnreachable.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_connection_lost_during_the_last_export_leaves_nothing_half_on_standard_output(
    mill: Mill, cut: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    monkeypatch.setitem(WRITERS, "jsonl", cutting_writer(cut, 1))
    monkeypatch.setattr("inkmill.run.ROUND_SECONDS", 0.01)
    assert finish(mill.database, Path("-")) == 5
    assert [line[:6] for line in capfdbinary.readouterr().out.splitlines()] == [b'{"id":'] * (OUTPUTS - 1)


def test_a_summary_does_without_texts_where_the_database_is_away_again(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    done = snapshot(mill.database, 1)
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    away = Database(url, create_engine(url))
    report = ExportReport(path=Path("o"), errors_path=None, rows=1, errors=0, format="jsonl", job=done)
    print_summary(away, report, read_pace(mill.database, done), count_flaws(mill.database, 1), ())
    said = capsys.readouterr().err
    assert "export    o (1 row)" in said and "  samples" not in said
