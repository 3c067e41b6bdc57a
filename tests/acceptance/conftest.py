"""The whole program as a user runs it: the installed command, real processes, real Redis, real databases."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.addresses import sqlite_url
from contract.errors import InkmillError
from contract.settings import Settings
from db.insights.failures import failure_groups
from db.insights.flaws import count_flaws
from db.insights.pace import read_pace
from db.jobs.status import snapshot, snapshots
from db.jobs.waiting import waiting_for
from db.session.engine import Database, open_database
from inkmill.local.stack import Stack
from inkmill.show.display import status_json

LOOK_SECONDS = 0.1
INKMILL = [sys.executable, "-m", "inkmill"]


@dataclass
class Home:
    """One home folder and the commands run in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
        mine = {
            "INKMILL_HOME": str(self.folder),
            "INKMILL_LEASE_SECONDS": "4",
            "INKMILL_SWEEP_SECONDS": "1",
            "INKMILL_IDLE_SECONDS": "20",
            "INKMILL_NICE": "0",  # other tests run beside this one, and want the cores all the while
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
        }
        return clean | mine | self.environment

    def inkmill(self, *words: str, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; a status other than `code` fails the test with its output."""
        done = subprocess.run(
            [*INKMILL, *words], env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=280, **options
        )
        if code is not None:
            assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Starts a command that goes on; its output is in the log files of the home."""
        log = (self.folder / f"{words[0]}-{len(self.started)}.log").open("wb")
        process = subprocess.Popen([*INKMILL, *words], env=self.env, cwd=self.folder, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def status(self, job: int = 1) -> dict[str, Any]:
        """What `inkmill status` would say of a job now; the command itself would take half a second of a core."""
        with closing(self.database()) as database:
            now = snapshot(database, job)
            waiting = waiting_for(database, now)
            pace = read_pace(database, now, waiting=bool(waiting))
            return status_json(now, pace, waiting, count_flaws(database, job), failure_groups(database, job))

    def database(self) -> Database:
        """This home's database, for a look that shall cost less than a command, which takes half a second of a core."""
        return open_database(self.environment.get("INKMILL_DATABASE_URL", sqlite_url(self.folder / "inkmill.db")))

    def until(self, met: Callable[[dict[str, Any]], bool], job: int = 1, seconds: float = 240) -> dict[str, Any]:
        """Waits until what `inkmill status` would say of the job meets a condition."""
        deadline = time.monotonic() + seconds
        with closing(self.database()) as database:
            while True:
                found = snapshot(database, job)
                waiting = waiting_for(database, found)
                now = status_json(found, read_pace(database, found, waiting=bool(waiting)), waiting)
                if met(now):
                    return now
                assert time.monotonic() < deadline, f"waited {seconds} s in vain: {now}\n{self.logs()}"
                time.sleep(LOOK_SECONDS)

    def until_submitted(self) -> None:
        """Waits until a run in the background has made its job."""
        deadline = time.monotonic() + 60

        def waits() -> None:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(LOOK_SECONDS)

        while not (self.folder / "inkmill.db").exists():
            waits()
        with closing(self.database()) as database:
            while not snapshots(database):
                waits()

    def finished(self, job: int = 1, seconds: float = 240) -> dict[str, Any]:
        over = ("completed", "cancelled", "failed")
        return self.until(lambda now: now["status"] in over, job, seconds)

    def workers(self) -> list[psutil.Process]:
        """Every process of this home's workers, those too whose parent has left them behind."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.Error):
                words = process.info["cmdline"] or []
                ours = "worker" in words or "worker.supervise.main" in words
                if ours and process.environ().get("INKMILL_HOME") == str(self.folder):
                    found.append(process)
        return found

    def worker_children(self) -> list[psutil.Process]:
        """The processes of this home that hold a model; one that was forked shows its parent's command."""
        workers = self.workers()
        return [process for process in workers if _parent(process) in workers]

    def kill_workers(self) -> int:
        """kill -9 on everything that holds a model. Returns how many were hit."""
        victims = self.worker_children()
        for process in victims:
            process.kill()
        return len(victims)

    def redis(self) -> Any:
        import redis

        config = Settings(home=self.folder, redis_url="")
        return redis.Redis(unix_socket_path=str(config.redis_socket), password=config.redis_password)

    def logs(self) -> str:
        files = sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("logs/*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        with suppress(InkmillError):
            Stack(Settings(home=self.folder)).stop()


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.Error):
        return process.parent()
    return None


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.fixture(scope="session")
def stock_redis() -> str:
    """The path of Debian's redis-server."""
    found = shutil.which("redis-server")
    if found is None and os.environ.get("CI"):
        pytest.fail("redis-server is not installed; CI installs Debian's package")
    if found is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return found


LONG = 800 * max(2, min(len(os.sched_getaffinity(0)), 8))
"""Prompts of a job, three samples each, that this machine does not end while a test does something to it."""


def write_prompts(path: Path, count: int, n: int = 3) -> Path:
    """A prompt file of mixed settings: short and long, greedy and sampled, penalties, stops, seeds of their own."""
    starts = ["The captain", "At dawn", "On market day", "Dear Aunt", "To make the soup", "“You", "We reached", ""]
    mixed: list[dict[str, Any]] = [
        {},
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"top_k": 5},
        {"min_p": 0.1},
        {"repetition_penalty": 1.2},
        {"presence_penalty": 0.5, "frequency_penalty": 0.3},
        {"top_k": 0},
        {"stop": ["."]},
        {"no_repeat_ngram_size": 3},
        {"temperature": 1.2, "top_k": 0, "top_p": 0.95},
        {"min_new_tokens": 4},
        {"bad_words": ["sea"]},
    ]
    with path.open("w") as file:
        for number in range(count):
            row = {"custom_id": f"r-{number}", "prompt": starts[number % len(starts)], "n": n}
            row["max_new_tokens"] = (4, 8, 12, 20)[number % 4]
            row |= mixed[number % len(mixed)]
            if number % 50 == 0:
                row["seed"] = number
            file.write(json.dumps(row) + "\n")
    return path
