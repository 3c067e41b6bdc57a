"""What commands print reaches a terminal as text, in any encoding, and ends quietly where nobody reads it."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.settings import Settings
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.inkmill.conftest import DEMO
from tests.unit.producer.exports.conftest import Mill

NAME = "a\x1b]0;gone\x07\n\u202egpj.jsonl"
HOSTILE = "\x1b[2J\x9b31m\u202e\x08"
OBEYED = set("\x1b\x9b\u202e\x07\x08\x7f\r")
ROOM = Path(__file__).parents[3] / "inkmill"


@pytest.fixture
def hostile(folder: Path) -> Path:
    """A job whose every name and text has escape sequences."""
    rows = [{"prompt": f"sea {HOSTILE}", "custom_id": f"{n}{HOSTILE}", "metadata": {"k": HOSTILE}} for n in range(3)]
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["submit", NAME, *DEMO]) == 0
    database = open_database(Settings().sql_url)
    mill = Mill(database)
    mill.generate(lambda work, sample: f" {'bad' * (work.position == 0)} {HOSTILE}", dead={2: f"died of {HOSTILE}"})
    mill.score()
    database.close()
    return folder


def commands() -> list[list[str]]:
    """Commands that name what is hostile, succeed or not."""
    good = ["jobs", "status 1", "watch 1", "workers", "export 1 -o out.jsonl", "export 1 -o -", "report 1",
            "retry 1", "rescore 1", "jobs --json", "status 1 --json", "decide 1 reject --as mara"]  # fmt: skip
    x = HOSTILE
    bad = [["submit", NAME, *DEMO], ["run", f"none{x}"], ["submit", "p.jsonl", "--model", f"./{x}"], [f"jobs{x}"],
           ["status", x], ["jobs", f"--limit{x}"], ["jobs", "--limit", x], ["jobs", x], ["try", "--n", x, "Once"],
           ["submit", "p.jsonl", "--safety", x], ["submit", "p.jsonl", "--threshold", f"{x}=1"],
           ["submit", "p.jsonl", "--blocklist", x], ["submit", "p.jsonl", "--on-flag", x],
           ["submit", "p.jsonl", "--device", x], ["submit", "p.jsonl", "--logit-bias", x],
           ["submit", "p.jsonl", "--form", x], ["submit", "p.jsonl", "--delimiter", x],
           ["export", "1", "-o", f"no{x}/x"], ["export", "1", "-o", "f.jsonl", "--only", x],
           ["decide", x, "approve"], ["decide", "1", x], ["decide", "--from", x], ["reproduce", x],
           ["report", "1", "-o", f"{x}.pdf"]]  # fmt: skip
    return [*(words.split() for words in good), *bad]


def test_no_escape_sequence_of_a_name_or_a_text_reaches_a_terminal(
    hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in [["submit", NAME, *DEMO, "--again"], *commands()]:
        run(words)
        said = capsys.readouterr()
        assert said.out + said.err
        # A file gets an export's very bytes, where JSON has spelled out the escapes that matter.
        raw = OBEYED & set(said.err + (said.out if "-" not in words else ""))
        assert not raw, f"{words}: {said}"


def test_a_name_forges_no_line_of_a_list_or_a_status(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for words in (["jobs"], ["status", "1"]):
        run(words)
        assert "a\\u001b]0;gone\\u0007\\n\\u202egpj.jsonl" in capsys.readouterr().out


def test_an_export_is_exact_in_a_file_and_text_on_a_terminal(
    hostile: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("jsonl", "csv"):
        assert run(["export", "1", "-o", f"x.{form}"]) == 0
        capfdbinary.readouterr()
        assert run(["export", "1", "-o", "-", "--format", form]) == 0
        exact = capfdbinary.readouterr().out
        assert exact == Path(f"x.{form}").read_bytes() and "\u202e" in exact.decode()
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            assert run(["export", "1", "-o", "-", "--format", form]) == 0
        shown = capfdbinary.readouterr().out.decode()
        assert not OBEYED & set(shown)
        if form == "jsonl":
            assert list(map(json.loads, shown.splitlines())) == list(map(json.loads, exact.splitlines()))


def test_everything_that_is_printed_passes_the_terminal() -> None:
    """Nothing in the front door writes to a stream, or makes a console, but the one room that makes it harmless."""
    allowed = {ROOM / "show" / "terminal.py"}
    offences = []
    for path in set(ROOM.rglob("*.py")) - allowed:
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "typer.echo", "typer.secho", "Console", "sys.stdout.write", "sys.stderr.write"):
                offences.append(f"{path}:{node.lineno}: {called}")  # type: ignore[attr-defined]
    assert not offences


def inkmill(*words: str, encoding: str = "utf-8", **streams: int) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "inkmill", *words], env=environment, check=False, timeout=60,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_that_lacks_a_character_gets_it_spelled_out(
    folder: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("café 你.jsonl").write_text('{"prompt": "你好", "custom_id": "é…"}\n')
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding))
    assert run(["submit", "café 你.jsonl", *DEMO]) == run(["status", "1"]) == run(["jobs"]) == 0
    assert b"\\u4f60.jsonl" in err.getvalue() and out.getvalue().count(b"\\u4f60.jsonl") == 2
    out.truncate(0)
    assert run(["status", "1", "--json"]) == 0
    assert json.loads(out.getvalue().decode("utf-8").lstrip("\0"))["name"] == "café 你.jsonl"


def test_a_locale_without_utf_8_ends_in_no_traceback(folder: Path) -> None:
    Path("你.txt").write_text("Once\n")
    done = inkmill("submit", "你.txt", *DEMO, encoding="ascii:strict")
    assert done.returncode == 0 and b"\\u4f60.txt" in done.stderr


def test_a_closed_pipe_ends_a_command_quietly(folder: Path) -> None:
    for words in (["jobs", "--help"], ["jobs", "--json"], ["status", "1"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = inkmill(*words, stdout=writer) if words[0] == "jobs" else inkmill(*words, stderr=writer)
        os.close(writer)
        assert done.returncode in (1, 2)
        assert not (done.stderr or done.stdout)


def test_a_full_disk_under_standard_output_is_told(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        for words in (["--version"], ["jobs", "--json"]):
            done = inkmill(*words, stdout=full.fileno())
            assert (done.returncode == 1 and b"disk is full" in done.stderr) or b"No space left" in done.stderr
            assert b"Traceback" not in done.stderr and b"ignored" not in done.stderr
