"""No command tells a password, whatever service is away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.settings import settings
from inkmill.cli import run

COMMANDS = [
    "submit p.jsonl", "run p.jsonl", "jobs", "status 1", "watch 1", "cancel 1", "retry 1", "export 1 -o o.jsonl",
    "reflag 1 --threshold toxicity=0.5", "decide 1 approve", "report 1 -o r.html", "web --port 0", "reproduce 1",
    "worker --model demo --safety demo",
]  # fmt: skip


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PostgreSQL server that is not there, and whose password is hunter2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INKMILL_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/x?sslpassword=hunter2")
    monkeypatch.setenv("INKMILL_IDLE_SECONDS", "1")  # for the stack that `worker` starts, and this process needs
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n')
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_database_says_where_it_should_be_and_no_password(
    away: None, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(command.split()) == 4
    told = capfd.readouterr()
    assert "u:***@127.0.0.1:1/x" in told.err
    assert "hunter2" not in told.err + told.out
    assert "Traceback" not in told.err


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1/0", "redis+socket://:hunter2@/nowhere/redis.sock"])
def test_a_submission_without_its_redis_is_stored_and_says_no_password(tmp_path: Path, url: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n')
    env = os.environ | {"INKMILL_HOME": str(tmp_path / "home"), "INKMILL_REDIS_URL": url}
    words = [sys.executable, "-m", "inkmill", "submit", "p.jsonl", "--model", "demo", "--safety", "demo"]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "does not answer" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
