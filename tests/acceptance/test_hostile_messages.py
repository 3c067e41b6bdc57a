"""Whatever somebody puts into Redis, a worker goes on with its work: nothing is run, nothing dies, nothing is lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest

from contract.queue import request_hint
from contract.settings import Settings
from tests.acceptance.conftest import Home
from tests.acceptance.hostile import CONTROL, envelope, hostile_control, hostile_messages


def until_ready(home: Home) -> None:
    deadline = time.monotonic() + 120
    while "ready" not in home.logs():
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.2)


def until_empty(home: Home, *queues: str) -> None:
    deadline = time.monotonic() + 60
    while any(home.redis().llen(queue) for queue in queues) or home.redis().hlen("unacked"):
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.1)


def answers(home: Home, worker: int) -> bool:
    """Whether stock Celery still hears from the worker with that process id."""
    name = f"inkmill-{worker}@{socket.gethostname()}"
    words = [sys.executable, "-m", "celery", "--app", "contract.queue", "--quiet", "inspect", "-d", name, "-t", "30"]
    done = subprocess.run([*words, "ping"], env=home.env, cwd=home.folder, capture_output=True, text=True, timeout=60)
    return "pong" in done.stdout


@pytest.mark.slow
def test_hostile_messages_run_nothing_end_nothing_and_lose_nothing(home: Home) -> None:
    trace = home.folder / "it-ran"
    home.start("worker", "--model", "demo", "--safety", "demo")
    until_ready(home)
    (before,) = home.worker_children()
    redis = home.redis()
    for message in hostile_messages(trace):
        redis.rpush("generate.demo", message)
        redis.rpush("score.demo", message)
    for message in hostile_control(trace):
        redis.publish(f"/0.{CONTROL}", message)
    until_empty(home, "generate.demo", "score.demo")

    (home.folder / "prompts.jsonl").write_text('{"prompt": "The captain", "n": 3, "max_new_tokens": 8}\n' * 20)
    home.inkmill("submit", "prompts.jsonl", "--model", "demo", "--safety", "demo")
    for hint in (1, 2**62, request_hint(1), request_hint(10**18)):  # forged, but of our shape: with no work, no matter
        redis.rpush("score.demo", json.dumps(envelope(json.dumps([[hint], {}, {}]).encode())))
    done = home.finished()
    assert (done["status"], done["outputs"]["scored"]) == ("completed", 60)

    assert home.worker_children() == [before], "the worker process was replaced"
    assert not trace.exists()
    assert answers(home, before.pid)
    assert Settings(home=home.folder).redis_password not in home.logs()
    log = (home.folder / "worker-0.log").read_text()
    assert "Traceback" not in log, log
    assert log.count("dropped what is no message of ours") == 1
    assert len(log) < 20_000, log[:5000]
