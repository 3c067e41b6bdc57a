"""What standard input and odd file names come to before a row is read: spooled, or refused in one line."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.errors import UsageError
from inkmill.cli import run
from producer.source import Source

ROOT = Path(__file__).parents[3]
READ = """
import resource, sys
from contract.errors import UsageError
from producer.read.prompt_file import open_prompt_file
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    open_prompt_file(sys.argv[1])
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize("most", [0, 4096])
@pytest.mark.parametrize("name", ["-", "p.parquet.gz"])
def test_if_no_temporary_file_can_be_written_one_line_says_what_to_do(tmp_path: Path, name: str, most: int) -> None:
    (tmp_path / "p.parquet.gz").write_bytes(gzip.compress(b"PAR1" + os.urandom(10_000)))
    done = subprocess.run(
        [sys.executable, "-c", READ, name, str(most)],
        input=os.urandom(10_000),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        check=True,
    )
    (said,) = done.stdout.decode().splitlines()
    what = "stdin" if name == "-" else name
    assert said.startswith(f"{what}: needs a temporary copy, which cannot be written (")
    assert ("No usable temporary directory" in said) == (most == 0)
    assert "set TMPDIR to a writable folder" in said


def test_a_file_that_changes_while_it_is_read_from_standard_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(b"old\n" * (1 << 19))

    class Meddled(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            with path.open("ab") as file:
                file.write(b"new\n")
            return super().read(4096 if self.tell() < 8192 else 0) or b""

    class Stdin:
        buffer: Any = Meddled(path)

    monkeypatch.setattr(sys, "stdin", Stdin)
    with pytest.raises(UsageError, match="stdin: was changed while it was being read"):
        Source("-")
    Stdin.buffer.close()


def test_a_file_whose_name_is_not_utf_8_is_refused_but_can_be_piped_in(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("a\n")
    with pytest.raises(UsageError, match=r"caf\\xe9\.txt: this name is not UTF-8.* rename it, or .* '-', standard"):
        Source(str(path))


@pytest.mark.parametrize(
    "words",
    ["submit caf\udce9.txt", "run p.txt -o o\udce9", "export 1 -o o\udce9 --json", "try \udce9", "web --as \udce9",
     "decide 1 reject --reason \udce9", "submit p.txt --model ./\udce9", "submit p.txt --stop \udce9"],
)  # fmt: skip
def test_an_argument_that_is_not_utf_8_is_refused_in_one_line(
    words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    assert run(words.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert r"\xe9" in said and "is not UTF-8" in said


def test_a_model_in_a_folder_whose_name_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contract.names import model_name, safety_name

    folder = tmp_path / os.fsdecode(b"d\xe9")
    (folder / "m").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for read in (model_name, safety_name):
        with pytest.raises(UsageError, match=r"d\\xe9/m: this name is not UTF-8"):
            read("./m")
    with pytest.raises(UsageError, match=r"d\\xe9/m: this name is not UTF-8"):
        safety_name("m")
