"""Where exports are written: whole or not at all, private, never through a link, compressed by name."""

from __future__ import annotations

import errno
import gzip
import io
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from contract.errors import InkmillError, UsageError
from producer.export import export_job
from producer.write.new_file import new_file

ROOT = Path(__file__).parents[4]
EXPORT = """
import resource, signal, sys
from pathlib import Path
from db.session.engine import open_database
from producer.export import export_job
if len(sys.argv) > 4:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
database, job, out = open_database(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
print(repr(export_job(database, job, out, format=None, force=True)), file=sys.stderr)
"""


@pytest.fixture
def job(mill: Any) -> int:
    found: int = mill.submit(["a", "b"])
    mill.generate()
    mill.score()
    return found


def exporting(mill: Any, job: int, out: Path | str, *more: str, **options: Any) -> subprocess.Popen[bytes]:
    """An export in a process of its own."""
    command = [sys.executable, "-c", EXPORT, str(mill.database.url), str(job), str(out), *more]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize(
    ("name", "said", "format"),
    [
        ("o.jsonl", None, "jsonl"), ("o.json", None, "jsonl"), ("o", None, "jsonl"), ("o.CSV", None, "csv"),
        ("o.ndjson", None, "jsonl"), ("o.gz", None, "jsonl"), ("o.xlsx", "csv", "csv"), ("o.txt", "jsonl", "jsonl"),
        ("o.csv.gz", None, "csv"), ("o.jsonl.zst", None, "jsonl"), ("o.parquet", None, "parquet"),
        ("o.csv", "openai", "openai"), ("o.jsonl", "csv", "csv"), (".csv", None, "jsonl"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_requested_or_else_follows_the_extension(
    mill: Any, job: int, out: Path, name: str, said: str | None, format: str
) -> None:
    report = export_job(mill.database, job, out / name, format=said)
    assert (report.path, report.format, report.rows) == (out / name, format, 2)


def test_an_unknown_format_is_refused_with_the_nearest_name(mill: Any, job: int, out: Path) -> None:
    with pytest.raises(UsageError, match="did you mean parquet"):
        export_job(mill.database, job, out / "o", format="parket")
    with pytest.raises(UsageError, match="is already compressed"):
        export_job(mill.database, job, out / "o.parquet.gz")


@pytest.mark.parametrize(
    ("name", "extension"),
    [("o.xlsx", ".xlsx"), ("o.txt", ".txt"), ("o.pq", ".pq"), ("o.TSV", ".tsv"), ("o.pq.gz", ".pq"),
     ("o.jsonl.bz2", ".bz2"), ("o.jsonl.zip", ".zip"), ("o.csv.errors", ".errors"), ("o.jsonl.gz.zst", ".gz")],
)  # fmt: skip
def test_an_ending_that_is_not_written_is_refused_with_those_that_are(
    mill: Any, job: int, out: Path, name: str, extension: str
) -> None:
    with pytest.raises(UsageError) as refused:
        export_job(mill.database, job, out / name)
    told = str(refused.value)
    assert f"-o {out / name}: Inkmill does not write {extension} files" in told
    assert all(word in told for word in (".jsonl", ".csv", ".parquet", "--format", "openai"))
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [("o.jsonl", {"flat": True}, "--flat: makes columns of a CSV or Parquet file, and this is jsonl"),
     ("o.csv", {"flat": True, "format": "openai"}, "this is openai"),
     ("o.parquet", {"for_spreadsheets": True}, "--for-spreadsheets: is for CSV, and this is parquet")],
)  # fmt: skip
def test_a_layout_that_the_format_cannot_have_is_refused(
    mill: Any, job: int, out: Path, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        export_job(mill.database, job, out / name, **options)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("format", ["jsonl", "csv", "openai"])
def test_a_compressed_export_holds_the_same_bytes(mill: Any, job: int, out: Path, format: str) -> None:
    for ending in ("", ".gz", ".zst"):
        export_job(mill.database, job, out / f"o{ending}", format=format)
    plain = (out / "o").read_bytes()
    assert gzip.decompress((out / "o.gz").read_bytes()) == plain
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO((out / "o.zst").read_bytes())) as stream:
        assert stream.read() == plain


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.csv.zst", "o.parquet"])
def test_exporting_twice_gives_the_same_bytes(mill: Any, job: int, out: Path, name: str) -> None:
    export_job(mill.database, job, out / name)
    first = (out / name).read_bytes()
    time.sleep(1.1)  # gzip counts seconds
    export_job(mill.database, job, out / name)
    assert (out / name).read_bytes() == first


@pytest.mark.parametrize("target", [None, Path("-")])
def test_an_export_to_standard_output_creates_no_file(
    mill: Any, job: int, out: Path, target: Path | None, capsysbinary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    report = export_job(mill.database, job, target)
    export_job(mill.database, job, out / "o.jsonl")
    assert capsysbinary.readouterr().out == (out / "o.jsonl").read_bytes()
    assert (str(report.path), report.errors_path) == ("-", None)
    assert [path.name for path in out.iterdir()] == ["o.jsonl"]


def test_an_export_to_standard_output_counts_dead_prompts(mill: Any, capsysbinary: Any) -> None:
    job = mill.submit(["a", "b", "c"])
    mill.generate(dead={0: "x", 2: "y"})
    report = export_job(mill.database, job, None)
    assert (report.rows, report.errors, report.errors_path) == (1, 2, None)


def test_parquet_goes_through_a_pipe(mill: Any, job: int, out: Path) -> None:
    program = EXPORT.replace("format=None", "format='parquet'")
    command = [sys.executable, "-c", program, str(mill.database.url), str(job), "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert pq.read_table(io.BytesIO(done.stdout))["text"].to_pylist() == [" text 0.0", " text 1.0"]


def test_a_full_disk_behind_standard_output_is_reported(mill: Any, job: int) -> None:
    with open("/dev/full", "wb") as full:
        process = exporting(mill, job, "-", stdout=full)
        _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"InkmillError: standard output: could not be written (the disk is full)" in told


def test_only_the_owner_can_read_both_files(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b"])
    mill.generate(dead={1: "x"})
    (out / "o.jsonl").touch(mode=0o644)
    old = os.umask(0)
    try:
        report = export_job(mill.database, job, out / "o.jsonl", force=True)
    finally:
        os.umask(old)
    assert report.errors_path is not None
    assert {stat.S_IMODE(path.stat().st_mode) for path in (report.path, report.errors_path)} == {0o600}


def test_a_forced_export_replaces_a_link_and_never_writes_through_it(mill: Any, out: Path, tmp_path: Path) -> None:
    job = mill.submit(["a", "b"])
    mill.generate(dead={1: "x"})
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (out / "o.jsonl").symlink_to(precious)
    (out / "dangling").symlink_to(tmp_path / "nowhere")
    (out / "p.jsonl.errors.jsonl").symlink_to(precious)
    for name in ("o.jsonl", "dangling"):
        with pytest.raises(UsageError, match=f"{name}: already exists"):
            export_job(mill.database, job, out / name)
        export_job(mill.database, job, out / name, force=True)
        assert not (out / name).is_symlink()
    with pytest.raises(UsageError, match=r"p\.jsonl\.errors\.jsonl: already exists"):
        export_job(mill.database, job, out / "p.jsonl", force=True)
    assert precious.read_text() == "mine" and not (tmp_path / "nowhere").exists()


def test_a_path_that_is_not_a_regular_file_is_refused(mill: Any, job: int, out: Path) -> None:
    os.mkfifo(out / "pipe")
    (out / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(UsageError, match="not a regular file; use '-o -'"):
            export_job(mill.database, job, out / name)
    with pytest.raises(UsageError, match="is a folder"):
        export_job(mill.database, job, out)
    assert stat.S_ISFIFO((out / "pipe").stat().st_mode) and (out / "null").is_symlink()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/o.jsonl", "there is no folder .*missing"),
        ("file/o.jsonl", "there is no folder .*file"),
        ("x" * 250, "File name too long"),
        ("a\0b", "null byte"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_export_begins(
    mill: Any, job: int, out: Path, name: str, said: str
) -> None:
    (out / "file").touch()
    with pytest.raises(UsageError, match=said):
        export_job(mill.database, job, out / name)
    assert [path.name for path in out.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv", "o.parquet", "o.jsonl.gz", "o.jsonl.zst"])
def test_an_export_that_fills_the_disk_leaves_the_older_one_intact(mill: Any, out: Path, name: str) -> None:
    job = mill.submit(["a"] * 600)
    mill.generate(lambda work, sample: os.urandom(2000).hex())
    (out / name).write_bytes(b"older")
    process = exporting(mill, job, out / name, "300000")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"InkmillError: {out / name}: could not be written (File too large)".encode() in told
    assert (out / name).read_bytes() == b"older"
    assert [path.name for path in out.iterdir()] == [name]


def write_half(path: Path, failure: BaseException) -> None:
    with new_file(path) as file:
        file.write(b"half")
        raise failure


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota is used up")])
def test_the_error_on_a_full_disk_says_that_it_is_full(out: Path, number: int, said: str) -> None:
    with pytest.raises(InkmillError, match=f"{said}.*nothing was lost"):
        write_half(out / "o", OSError(number, os.strerror(number)))
    assert list(out.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(out / "o", KeyboardInterrupt())
    assert list(out.iterdir()) == []


def test_a_killed_export_leaves_the_older_one_intact(mill: Any, out: Path) -> None:
    job = mill.submit(["a"] * 20_000, batch_size=4096)
    mill.generate(lambda work, sample: "word " * 100)
    (out / "o.jsonl").write_bytes(b"older")
    process = exporting(mill, job, out / "o.jsonl")
    while not any(path.stat().st_size for path in out.glob(".inkmill-*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (out / "o.jsonl").read_bytes() == b"older"
    (left,) = out.glob(".inkmill-*")
    os.utime(left, (0, 0))
    export_job(mill.database, job, out / "other.jsonl")
    assert {path.name for path in out.iterdir()} == {"o.jsonl", "other.jsonl"}


def test_the_unfinished_file_of_another_export_is_not_removed(mill: Any, job: int, out: Path) -> None:
    with new_file(out / "slow") as file:
        (temporary,) = out.glob(".inkmill-*")
        os.utime(temporary, (0, 0))
        export_job(mill.database, job, out / "o.jsonl")
        file.write(b"whole")
    assert (out / "slow").read_bytes() == b"whole"


def test_an_unfinished_file_that_is_a_few_seconds_old_is_not_removed(mill: Any, job: int, out: Path) -> None:
    young = out / f".inkmill-{'0' * 32}.tmp"
    young.touch(mode=0o600)
    export_job(mill.database, job, out / "o.jsonl")
    assert young.exists()


def test_a_file_of_the_user_named_like_an_unfinished_one_is_not_removed(mill: Any, job: int, out: Path) -> None:
    mine = [out / ".inkmill-notes.tmp", out / ".inkmill-1234abcd.tmp", out / f".inkmill-{'0' * 32}.tmp"]
    for path in mine:
        path.write_text("mine")  # open to others, as no file of ours is
        os.utime(path, (0, 0))
    export_job(mill.database, job, out / "o.jsonl")
    assert {*out.iterdir()} == {*mine, out / "o.jsonl"}
