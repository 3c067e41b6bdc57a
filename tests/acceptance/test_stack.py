"""The stack under rough hands: killed, stopped, removed, shared with workers that cannot load."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from contract.queue import make_app
from contract.settings import Settings
from inkmill.local.stack import Stack
from tests.acceptance.conftest import INKMILL, LONG, Home, write_prompts

PIN = """
import sys
from pathlib import Path
from contract.settings import Settings
from inkmill.local.stack import Stack
Stack(Settings(home=Path(sys.argv[1]), redis_url="")).ensure_running(pin=True)
print("pinned", flush=True)
sys.stdin.read()
"""
"""A process that needs the stack for as long as it lives."""

DEMO = ("--model", "demo", "--safety", "demo")


def processes(home: Home, word: str) -> list[psutil.Process]:
    """The processes of this home whose command line holds a word."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        try:
            # Redis writes its socket's path where its environment was.
            mine = str(home.folder) in line or process.environ().get("INKMILL_HOME") == str(home.folder)
        except psutil.Error:
            continue
        if mine and word in line:
            found.append(process)
    return found


def wait_until_none(home: Home, word: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while processes(home, word):
        assert time.monotonic() < deadline, f"{word} still runs: {processes(home, word)}\n{home.logs()}"
        time.sleep(0.1)


def begun(home: Home) -> None:
    """A detached run in the middle of its work."""
    write_prompts(home.folder / "p.jsonl", LONG)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 130


def test_when_the_daemon_is_killed_its_redis_and_workers_end_and_the_next_run_continues(home: Home) -> None:
    begun(home)
    (daemon,) = processes(home, "inkmill.local.daemon")
    daemon.kill()
    wait_until_none(home, "redis.sock")
    deadline = time.monotonic() + 20
    while home.workers():
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.1)
    home.inkmill("run", "p.jsonl", *DEMO)
    assert home.status()["outputs"]["scored"] == 3 * LONG
    assert len(processes(home, "redis.sock")) == 1


def test_stop_also_ends_a_run_that_follows_a_job_which_says_so(home: Home) -> None:
    write_prompts(home.folder / "p.jsonl", LONG)
    run = home.start("run", "p.jsonl", *DEMO)
    home.until_submitted()
    home.until(lambda now: now["outputs"]["generated"] > 0)
    home.inkmill("stop")
    assert run.wait(20) == 1
    assert "the stack was stopped; job 1 keeps its texts" in home.logs()
    assert processes(home, "inkmill.local.daemon") == []


def test_a_worker_in_the_foreground_survives_the_death_of_its_redis_keeper(home: Home) -> None:
    home.start("worker", *DEMO)
    while not home.worker_children():
        time.sleep(0.1)
    (daemon,) = processes(home, "inkmill.local.daemon")
    daemon.kill()
    write_prompts(home.folder / "p.jsonl", 20)
    home.inkmill("submit", "p.jsonl", *DEMO)
    assert home.finished(seconds=60)["outputs"]["scored"] == 60


def test_stop_ends_a_worker_in_the_foreground(home: Home) -> None:
    worker = home.start("worker", *DEMO)
    while not home.worker_children():
        time.sleep(0.1)
    home.inkmill("stop")
    assert worker.wait(5) == 0
    assert home.workers() == []


def test_a_worker_gives_way_to_what_people_wait_for(home: Home) -> None:
    home.environment["INKMILL_NICE"] = "7"
    home.start("worker", *DEMO)
    deadline = time.monotonic() + 30
    own = psutil.Process().nice()
    while [child.nice() for child in home.worker_children()] != [max(7, own)]:
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.1)
    assert sorted(process.nice() for process in home.workers()) == [own, max(7, own)]


def test_when_its_home_is_removed_a_stack_ends_and_a_new_home_there_works(home: Home, tmp_path: Path) -> None:
    inner = Home(tmp_path / "inner", dict(home.environment))
    inner.folder.mkdir()
    begun(inner)
    shutil.rmtree(inner.folder)
    inner.folder.mkdir()
    write_prompts(inner.folder / "p.jsonl", 20)
    inner.inkmill("run", "p.jsonl", *DEMO)
    time.sleep(7)  # longer than a deaf Redis is borne
    assert len(processes(inner, "redis.sock")) == 1
    assert inner.redis().ping()
    inner.close()


def test_a_worker_that_cannot_load_fails_its_own_job_and_nobody_elses(home: Home) -> None:
    home.environment["INKMILL_IDLE_SECONDS"] = "60"
    write_prompts(home.folder / "good.jsonl", 10)
    write_prompts(home.folder / "bad.jsonl", 11)
    (home.folder / "broken.ckpt").write_bytes(b"this is no checkpoint")
    home.inkmill("run", "good.jsonl", *DEMO)
    refused = home.inkmill("run", "bad.jsonl", "--model", "demo", "--safety", "./broken.ckpt", code=4)
    assert "broken.ckpt" in refused.stderr
    refused = home.inkmill("run", "bad.jsonl", "--model", "demo", "--device", "cuda:7", "--safety", "demo", code=4)
    assert "cuda" in refused.stderr
    write_prompts(home.folder / "third.jsonl", 12)
    home.inkmill("run", "third.jsonl", "--model", "demo", "--safety", "none")
    states = [job["status"] for job in json.loads(home.inkmill("jobs", "--json").stdout)]
    assert states == ["completed", "failed", "failed", "completed"]


@pytest.mark.parametrize("order", ["cancel_consumer", "shutdown", "rate_limit", "pool_shrink"])
def test_forged_control_messages_do_not_stop_the_work(home: Home, order: str) -> None:
    home.start("worker", *DEMO)
    while "ready" not in home.logs():
        time.sleep(0.2)
    time.sleep(1)
    app = make_app(Settings(home=home.folder))
    arguments: dict[str, dict[str, object]] = {
        "cancel_consumer": {"queue": "generate.demo"},
        "rate_limit": {"task_name": "inkmill.generate", "rate_limit": "1/h"},
        "pool_shrink": {"n": 34},
    }
    app.control.broadcast(order, arguments=arguments.get(order, {}))
    time.sleep(1)
    write_prompts(home.folder / "p.jsonl", 10)
    home.inkmill("submit", "p.jsonl", *DEMO)
    assert home.finished(seconds=40)["outputs"]["scored"] == 30


def test_a_worker_without_a_database_leaves_no_stack_behind(home: Home) -> None:
    home.environment |= {"INKMILL_DATABASE_URL": "postgresql://u@127.0.0.1:1/x", "INKMILL_IDLE_SECONDS": "2"}
    assert "cannot be opened" in home.inkmill("worker", *DEMO, code=4).stderr
    wait_until_none(home, "inkmill.local.daemon")
    wait_until_none(home, "redis.sock")


def test_a_home_with_unusual_characters_works_like_any_other(home: Home, tmp_path: Path) -> None:
    inner = Home(tmp_path / "a?b%41#c;d e\"f'g\\h", dict(home.environment))
    inner.folder.mkdir()
    write_prompts(inner.folder / "p.jsonl", 5)
    inner.inkmill("run", "p.jsonl", *DEMO)
    inner.inkmill("doctor", code=None)
    assert inner.redis().ping()
    assert inner.redis().config_get("dir")["dir"] == str(inner.folder / "redis")
    assert (inner.folder / "inkmill.db").exists()
    inner.close()


def test_run_reports_that_a_relative_database_of_another_folder_is_a_different_one(home: Home) -> None:
    home.environment |= {"INKMILL_DATABASE_URL": "sqlite:///jobs.db", "INKMILL_IDLE_SECONDS": "60"}
    write_prompts(home.folder / "p.jsonl", 5)
    home.inkmill("run", "p.jsonl", *DEMO)
    other = home.folder / "elsewhere"
    other.mkdir()
    shutil.copy(home.folder / "p.jsonl", other)
    done = subprocess.run(
        [*INKMILL, "run", "p.jsonl", *DEMO], env=home.env, cwd=other, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert f"on the database {home.folder}/jobs.db, but this command on {other}/jobs.db" in done.stderr


def test_names_with_markup_are_shown_as_they_are(home: Home) -> None:
    write_prompts(home.folder / "a[red]b.jsonl", 1)
    submitted = home.inkmill("submit", "a[red]b.jsonl", "--model", "demo", "--name", "m[/red]", "--safety", "none")
    assert "of a[red]b.jsonl" in submitted.stderr
    for words in (("jobs",), ("status", "1")):
        shown = home.inkmill(*words).stdout
        assert "m[/red]" in shown


def test_a_daemon_that_cannot_write_its_state_keeps_running_and_tries_again(home: Home) -> None:
    stack = Stack(Settings(home=home.folder, redis_url=""))
    pin = subprocess.Popen([sys.executable, "-c", PIN, str(home.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert pin.stdout is not None and pin.stdout.readline() == b"pinned\n"
    (daemon,) = processes(home, "inkmill.local.daemon")
    daemon.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # as on a full disk, no file can grow
    pin.kill()
    pin.wait()
    time.sleep(2)
    assert stack.read().pins
    assert daemon.is_running() and daemon.status() != psutil.STATUS_ZOMBIE, home.logs()
    daemon.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 10
    while stack.read().pins:
        assert time.monotonic() < deadline
        time.sleep(0.1)
