"""`inkmill try` without a prompt, with real models: on a terminal of its own, and from a pipe."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.settings import settings
from inkmill.cli import run
from tests.unit.engine.tiny_models import CHAT_TEMPLATE, make_gpt2

PATIENCE = 120.0
LONG = ("--dtype", "fp32", "--n", "1", "--max-new-tokens", "200", "--min-new-tokens", "200")


@dataclass
class Typist:
    """Somebody at a terminal on which a session runs."""

    terminal: int
    process: subprocess.Popen[bytes]
    shown: str = ""

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def see(self, text: str) -> str:
        """Waits for a text. Returns what was shown up to it, which is then forgotten."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            self.shown += os.read(self.terminal, 4096).decode("utf-8", "replace")
        before, _, self.shown = self.shown.partition(text)
        return before


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    terminal, other_end = pty.openpty()
    environment = os.environ | {"INKMILL_HOME": str(tmp_path / "home"), "TERM": "dumb", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "inkmill", "try", "--model", "demo", *LONG],
        stdin=other_end, stdout=other_end, stderr=other_end, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(other_end)
    yield Typist(terminal, process)
    process.kill()
    process.wait()
    os.close(terminal)


@pytest.mark.long
def test_a_session_on_a_terminal(typist: Typist, tmp_path: Path) -> None:
    typist.see("demo is loaded. Type a prompt, or :help; Ctrl-D ends.")
    typist.see("> ")
    typist.type("The harbour\n")
    typist.see("seed ")
    typist.see("The harbour")  # the text is shown while it grows
    typist.type("\x03")
    assert "mean log-probability" not in typist.see("─ stopped ─")
    typist.see("> ")
    typist.type("a line that is dropped\x03")
    typist.see("> ")
    typist.type(":set min_new_tokens 0\n")
    typist.see("min_new_tokens 0")
    typist.type(":set max_new_tokens 3\n")
    typist.see("max_new_tokens 3")
    typist.type(":set temperature hot\n")
    typist.see("must be a number, not 'hot'")
    typist.type("\x10\x10\x1b[A")  # three lines back in the history
    typist.see(":set min_new_tokens 0")
    typist.type("\x15Once\n")
    typist.see("length, 3 tokens")
    typist.see("> ")
    typist.type("\x04")
    with suppress(OSError):  # its end of the terminal is closed
        typist.see("nothing more")
    assert typist.process.wait(PATIENCE) == 0
    history = tmp_path / "home" / "try.history"
    assert "The harbour" in history.read_text().splitlines() and history.stat().st_mode & 0o077 == 0


def test_a_chat_from_a_pipe_keeps_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chatty = make_gpt2(tmp_path / "chatty", chat=CHAT_TEMPLATE)
    typed = b":seed 5\nHello\n\xff\xfe\nAgain\n:new\nHello\n" + b"long " * 200 + b"\n:set max_new_tokens 2\nHello"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    how = ("--model", str(chatty), "--dtype", "fp32", "--max-new-tokens", "6", "--json")
    try:
        assert run(["try", *how, "--system", "Be brief."]) == 0
    finally:
        settings.cache_clear()
    said = capsys.readouterr()
    ((first,), (second,), (third,), (last,)) = answers(said.out)
    turns = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    begun = f"<|endoftext|>{turns}"
    assert first["prompt"] == begun
    assert second["prompt"].startswith(f"{begun}{first['text']}<|im_end|>\n<|im_start|>user\nAgain<|im_end|>")
    assert (third["prompt"], third["text"]) == (first["prompt"], first["text"])
    assert last["tokens"] == 2
    assert "not UTF-8" in said.err and "the prompt cannot be continued: " in said.err
    assert not (tmp_path / "home" / "try.history").exists()


def answers(out: str) -> list[list[dict[str, object]]]:
    decoder, found, place = json.JSONDecoder(), [], 0
    while out[place:].strip():
        place += len(out[place:]) - len(out[place:].lstrip())
        answer, place = decoder.raw_decode(out, place)
        found.append(answer)
    return found
