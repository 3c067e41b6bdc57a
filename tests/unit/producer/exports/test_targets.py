"""Whose files an export may replace or remove: those that were written of the same job, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from contract.errors import UsageError
from db.jobs.written_files import jobs_of_file, record_file
from db.session.engine import Database
from producer.export import export_job
from producer.write.target import MayReplace, Target


def finished(mill: Any, *dead: int) -> int:
    """A job of two prompts; those at the positions in `dead` died."""
    job: int = mill.submit(["a", "b"])
    mill.generate(dead=dict.fromkeys(dead, "x"))
    mill.score()
    return job


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv.gz", "o.jsonl.zst", "o.parquet"])
def test_a_job_is_exported_again_to_the_same_name(any_mill: Any, out: Path, name: str) -> None:
    job = finished(any_mill, 1)
    for only in ("all", "clean", "all"):
        report = export_job(any_mill.database, job, out / name, only=[only])
        assert report.errors_path == out / f"{name}.errors.jsonl"
    assert lines(report.errors_path) == 1


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.errors.jsonl"])
def test_a_file_of_the_user_is_never_replaced(any_mill: Any, out: Path, name: str) -> None:
    job = finished(any_mill)
    (out / name).write_text('{"prompt": "mine"}\n')
    with pytest.raises(UsageError, match=rf"{name}: already exists, and is not as it was written for this job; .* -o"):
        export_job(any_mill.database, job, out / "o.jsonl")
    assert {path.name: path.read_text() for path in out.iterdir()} == {name: '{"prompt": "mine"}\n'}


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.errors.jsonl"])
def test_an_export_changed_by_the_user_is_not_replaced(mill: Any, out: Path, name: str) -> None:
    job = finished(mill, 0)
    export_job(mill.database, job, out / "o.jsonl")
    with (out / name).open("a") as file:
        file.write("\n")
    with pytest.raises(UsageError, match=f"{name}: already exists"):
        export_job(mill.database, job, out / "o.jsonl")


def test_another_jobs_export_is_refused_unless_forced(mill: Any, out: Path) -> None:
    first, second = finished(mill, 0), finished(mill)
    export_job(mill.database, first, out / "o.jsonl")
    with pytest.raises(UsageError, match=r"o\.jsonl: already exists"):
        export_job(mill.database, second, out / "o.jsonl")
    report = export_job(mill.database, second, out / "o.jsonl", force=True)
    assert report.errors_path is None and lines(out / "o.jsonl") == 2
    assert [path.name for path in out.iterdir()] == ["o.jsonl"]  # the first job's dead prompts went with its export


def test_force_replaces_the_named_file_and_never_the_one_beside_it(mill: Any, out: Path) -> None:
    job = finished(mill)
    (out / "o.jsonl").write_text("mine")
    export_job(mill.database, job, out / "o.jsonl", force=True)
    (out / "p.jsonl.errors.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"p\.jsonl\.errors\.jsonl: already exists, and is not as Inkmill wrote it"):
        export_job(mill.database, job, out / "p.jsonl", force=True)
    assert (out / "p.jsonl.errors.jsonl").read_text() == "mine" and not (out / "p.jsonl").exists()


def test_a_moved_or_linked_export_is_not_replaced(mill: Any, out: Path) -> None:
    job = finished(mill)
    export_job(mill.database, job, out / "o.jsonl")
    os.link(out / "o.jsonl", out / "kept.jsonl")
    (out / "link.jsonl").symlink_to("o.jsonl")
    for name in ("kept.jsonl", "link.jsonl"):
        with pytest.raises(UsageError, match=f"{name}: already exists"):
            export_job(mill.database, job, out / name)
    export_job(mill.database, job, out / "o.jsonl", only=["flagged"], allow_empty=True)
    assert lines(out / "kept.jsonl") == 2 and lines(out / "o.jsonl") == 0


def test_a_folder_reached_by_another_path_is_the_same_folder(
    mill: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(mill)
    export_job(mill.database, job, out / "o.jsonl")
    (out.parent / "link").symlink_to(out)
    export_job(mill.database, job, out.parent / "link" / "o.jsonl")
    monkeypatch.chdir(out)
    export_job(mill.database, job, Path("o.jsonl"))
    export_job(mill.database, job, Path("../out/o.jsonl"))


def test_a_file_that_appears_during_an_export_is_not_replaced(mill: Any, out: Path) -> None:
    job = finished(mill)
    target = Target(mill.database, out / "o.jsonl", job, "name another")
    with pytest.raises(UsageError, match=r"o\.jsonl: already exists"), target.file():
        (out / "o.jsonl").write_text("mine")
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("o.jsonl", "mine")]
    target = Target(mill.database, out / "o.jsonl", job, "", MayReplace.ANY_FILE)
    with target.file() as file:
        file.write(b"ours")
    target = Target(mill.database, out / "o.jsonl", job, "name another")
    (out / "o.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"o\.jsonl: already exists"):
        target.remove()
    assert (out / "o.jsonl").read_text() == "mine"


def test_two_exports_of_a_job_to_one_name_at_once_both_end_well(mill: Any, out: Path) -> None:
    job = finished(mill)
    slow = Target(mill.database, out / "o.jsonl", job, "name another")
    with slow.file() as file:
        export_job(mill.database, job, out / "o.jsonl")
        file.write(b"later")
    assert (out / "o.jsonl").read_bytes() == b"later"
    export_job(mill.database, job, out / "o.jsonl")


def test_an_export_killed_before_the_rename_leaves_the_older_one_replaceable(mill: Any, out: Path) -> None:
    job = finished(mill)
    export_job(mill.database, job, out / "o.jsonl")
    record_file(mill.database, bytes(out / "o.jsonl"), "0" * 64, job)  # and then it died
    export_job(mill.database, job, out / "o.jsonl")


def test_a_file_name_that_is_not_utf_8_is_remembered_too(database: Database, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    for data in (b"first", b"second"):
        with Target(database, path, None, "").file() as file:
            file.write(data)
    assert path.read_bytes() == b"second"


def test_a_file_is_remembered_once_for_each_job(any_mill: Any) -> None:
    jobs = [any_mill.submit(["a"]) for _ in range(2)]
    for job in (*jobs, jobs[0], None, None):
        record_file(any_mill.database, b"/o.jsonl", "d", job)
    assert jobs_of_file(any_mill.database, b"/o.jsonl", "d") == {*jobs, None}
    assert jobs_of_file(any_mill.database, b"/p.jsonl", "d") == set()
    with any_mill.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM written_files").scalar() == 3
