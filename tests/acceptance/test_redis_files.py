"""The embedded Redis holds hints only: whatever its files are like, work goes on, with a note."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.settings import Settings
from inkmill.local.redis_server import MAX_SET_ASIDE, accepts_connections, set_aside, start_server
from tests.acceptance.conftest import LONG, Home, write_prompts
from tests.acceptance.test_stack import DEMO, processes


def damage(files: Path) -> None:
    for file in files.rglob("*.*"):
        file.write_bytes(os.urandom(200))


def empty(files: Path) -> None:
    for file in files.rglob("*.*"):
        file.write_bytes(b"")


def of_another_version(files: Path) -> None:
    """A base file whose format is of a later server's: "REDIS" and four digits."""
    (base,) = files.glob("*.base.rdb")
    base.write_bytes(b"REDIS9999" + base.read_bytes()[9:])


@pytest.mark.parametrize("spoil", [damage, empty, of_another_version])
def test_work_continues_with_a_note_when_the_files_of_redis_cannot_be_read(
    home: Home, spoil: Callable[[Path], None]
) -> None:
    write_prompts(home.folder / "p.jsonl", LONG)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    (redis,) = processes(home, "redis.sock")
    spoil(home.folder / "redis" / "appendonlydir")
    redis.kill()
    assert run.wait(240) == 0
    assert home.status()["outputs"]["scored"] == 3 * LONG
    assert "note: the local Redis could not read its files" in home.logs()
    (aside,) = (home.folder / "redis").glob("set-aside-*")
    assert (aside / "appendonlydir").is_dir()
    assert str(aside) in (home.folder / "run-0.log").read_text()


def test_a_redis_that_never_starts_is_tried_ever_less_often_and_run_prints_its_error(
    home: Home, tmp_path: Path
) -> None:
    server = tmp_path / "bin" / "redis-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\necho started >>\"$0.count\"\necho '1:M 1 Jan 2026 # No room at the inn'\nexit 1\n")
    server.chmod(0o755)
    home.environment["PATH"] = f"{server.parent}:{os.environ['PATH']}"
    write_prompts(home.folder / "p.jsonl", 2)
    refused = home.inkmill("run", "p.jsonl", *DEMO, code=4)
    assert "the local Redis did not start (it exited with status 1: No room at the inn)" in refused.stderr
    assert len(server.with_suffix(".count").read_text().split()) <= 8


def test_only_the_newest_files_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, redis_url="")
    for _ in range(MAX_SET_ASIDE + 2):
        server = start_server(config)
        assert accepts_connections(config, 10)
        while not (config.redis_folder / "appendonlydir").is_dir():  # made once it listens
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
        aside = set_aside(config)
        assert aside is not None and (aside / "appendonlydir").is_dir()
        assert set_aside(config) is None
    kept = sorted(config.redis_folder.glob("set-aside-*"))
    assert len(kept) == MAX_SET_ASIDE and aside in kept
