"""Both files of an export tell of one moment, whatever is done to the job meanwhile, and hold up nobody for long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from contract.errors import InkmillError
from db.jobs import reflag
from db.jobs.jobs import cancel_job
from db.jobs.reflag import reflag_job
from db.jobs.retry import retry_job
from db.results import export_rows
from producer.export import WRITERS, export_job


def positions(path: Path) -> list[int]:
    return [orjson.loads(line)["position"] for line in path.read_bytes().splitlines()] if path.exists() else []


def interrupted_writer(happens: Callable[[], object]) -> Any:
    """JSONL before whose second output something happens."""
    write_jsonl = WRITERS["jsonl"]

    def write(outputs: Any, lines: Any, file: Any) -> int:
        rows = write_jsonl([next(outputs)], lines, file)
        happens()
        return rows + write_jsonl(outputs, lines, file)

    return write


@pytest.fixture
def half_done(any_mill: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """A job of six prompts, two of them done; a position is read at a time."""
    monkeypatch.setattr(export_rows, "CHUNK_PROMPTS", 1)
    job: int = any_mill.submit(["a"] * 6, batch_size=1)
    any_mill.generate(batches=2)
    any_mill.score()
    return job


def test_a_job_retried_during_its_export_has_no_prompt_in_both_files(
    any_mill: Any, half_done: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel_job(any_mill.database, half_done)

    def retried() -> None:
        retry_job(any_mill.database, half_done)
        any_mill.generate()
        any_mill.score()

    monkeypatch.setitem(WRITERS, "jsonl", interrupted_writer(retried))
    report = export_job(any_mill.database, half_done, out / "o.jsonl")
    assert positions(out / "o.jsonl") == [0, 1]
    assert positions(out / "o.jsonl.errors.jsonl") == [2, 3, 4, 5]
    assert (report.rows, report.errors) == (2, 4)
    assert (report.job.status, report.job.generated, report.job.cancelled) == ("cancelled", 2, 4)


def test_an_export_during_a_cancel_reports_the_job_as_unfinished(
    any_mill: Any, half_done: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = interrupted_writer(lambda: cancel_job(any_mill.database, half_done))
    monkeypatch.setitem(WRITERS, "jsonl", cancelled)
    report = export_job(any_mill.database, half_done, out / "o.jsonl")
    assert (positions(out / "o.jsonl"), report.errors) == ([0, 1], 0)
    assert not report.job.finished and report.job.cancelled == 0


def test_an_export_that_fails_leaves_both_of_the_older_files(
    any_mill: Any, half_done: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel_job(any_mill.database, half_done)
    export_job(any_mill.database, half_done, out / "o.jsonl")
    older = {path.name: path.read_bytes() for path in out.iterdir()}
    retry_job(any_mill.database, half_done)
    any_mill.generate(dead={3: "x"})

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(WRITERS, "jsonl", interrupted_writer(full))
    with pytest.raises(InkmillError, match="the disk is full"):
        export_job(any_mill.database, half_done, out / "o.jsonl")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == older


def test_no_transaction_is_held_while_standard_output_waits_for_its_reader(
    any_mill: Any, half_done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(data: bytes) -> int:
        assert any_mill.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        written.append(bytes(data))
        return len(data)

    pager = SimpleNamespace(write=write, flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=pager, flush=lambda: None, isatty=lambda: True))
    assert export_job(any_mill.database, half_done, None).rows == 2
    assert b"".join(written).count(b"\n") == 2


def test_a_full_temporary_disk_is_reported_before_anything_is_written_to_standard_output(
    mill: Any, mixed: int, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(WRITERS, "jsonl", interrupted_writer(full))
    with pytest.raises(InkmillError, match=r"temporary file .*the disk is full.*nothing was written.*TMPDIR"):
        export_job(mill.database, mixed, None)
    assert capfdbinary.readouterr().out == b""


def test_an_export_applies_one_policy_however_often_a_reflag_is_killed(
    any_mill: Any, half_done: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflag, "CHUNK_OUTPUTS", 1)
    database, advance, finish = any_mill.database, reflag._advance, export_rows.finish_reflag

    def kill_a_reflag(toxicity: float) -> None:
        def advance_or_die(database: Any, job: int) -> int | None:
            monkeypatch.setattr(reflag, "_advance", die)
            return advance(database, job)

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(reflag, "_advance", advance_or_die)
        with pytest.raises(KeyboardInterrupt):
            reflag_job(database, half_done, thresholds={"toxicity": toxicity}, blocklist=None)
        monkeypatch.setattr(reflag, "_advance", advance)

    def finish_and_kill_another(database: Any, job: int) -> int:
        monkeypatch.setattr(export_rows, "finish_reflag", finish)
        changed = finish(database, job)
        kill_a_reflag(0.05)
        return changed

    kill_a_reflag(0.04)
    monkeypatch.setattr(export_rows, "finish_reflag", finish_and_kill_another)
    assert export_job(database, half_done, out / "o.jsonl", only=["clean"], allow_empty=True).rows == 0
    kill_a_reflag(0.5)
    assert export_job(database, half_done, out / "o.jsonl", only=["clean"]).rows == 2
