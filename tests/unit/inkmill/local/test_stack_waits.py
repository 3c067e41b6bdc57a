"""Commands that wait for the local stack say for what."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.processes import Process
from contract.settings import Settings
from contract.waiting.stack_state import StackState
from inkmill.local.stack import Stack

HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(1)
"""
SLOW_TO_END = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr("common.long_waits.QUIET_SECONDS", 0.2)
    monkeypatch.setattr("common.long_waits._last", "")
    (tmp_path / "stack.lock").touch()
    return Stack(Settings(home=tmp_path))


def started(program: str, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    return process


def test_whoever_holds_the_lock_of_the_stack_is_named(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(HOLD, str(tmp_path / "stack.lock")) as holder, stack.locked():
        pass
    said = f"inkmill: waiting for {tmp_path / 'stack.lock'}, which is locked by process {holder.pid} ("
    assert capsys.readouterr().err.startswith(said)


def test_stop_says_which_processes_it_waits_for(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with started(SLOW_TO_END) as daemon:
        stack.write(StackState(database="a hash", daemon=Process.of(daemon.pid)))
        assert stack.stop()
    assert daemon.returncode in (0, -signal.SIGTERM)
    assert f"inkmill: waiting for process {daemon.pid} to end" in capsys.readouterr().err
