"""Row 6: a Redis and a database that accept connections and never answer, and a Redis that pauses its clients."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import closing

from bench.chaos.load import Load
from bench.chaos.prompts import MODEL, SAFETY
from bench.chaos.proxy import SwallowingProxy
from bench.chaos.stack import INKMILL
from bench.chaos.trial import Row, Trial

SERVICE_SECONDS = 3
WAIT_SECONDS = 2 * SERVICE_SECONDS + 4.0
"""What a command may wait for services that are silent; what else it needs is measured beside it, on a machine whose
cores the workers keep busy."""
SUBMIT = ["--model", MODEL, "--safety", SAFETY]
RETURN_SECONDS = 30.0


def attack(trial: Trial) -> None:
    stack = trial.stack
    assert stack.postgres is not None
    with closing(SwallowingProxy(stack.redis.port)) as redis, closing(SwallowingProxy(stack.postgres.port)) as database:
        stack.environment["INKMILL_REDIS_URL"] = stack.redis.address(redis.port)
        stack.environment["INKMILL_DATABASE_URL"] = stack.postgres.url("chaos", database.port)
        load = Load(trial, trial.size(6000, 1500))
        for cut in (True, False):
            _redis_falls_silent(trial, load, redis, cut=cut)
            _database_falls_silent(trial, load, database, cut=cut)
        _pause(trial, load)
        load.finish()
        load.judge()


def _redis_falls_silent(trial: Trial, load: Load, proxy: SwallowingProxy, *, cut: bool) -> None:
    load.during(2)
    job = str(load.jobs[0])
    asked = {"status": ["status", job], "jobs": ["jobs"], "doctor": ["doctor"]}
    calm = {name: _took(trial, words) for name, words in asked.items()}
    calm["submit"] = _timed(load.more)
    proxy.swallow()
    for name, words in asked.items():
        _judge(trial, f"{name} with Redis silent", _took(trial, words, 0 if name != "doctor" else None), calm[name])
    _judge(trial, "submit with Redis silent, which stores the job,", _timed(load.more), calm["submit"])
    time.sleep(trial.size(5, 0))
    proxy.let_through(cut=cut)
    _goes_on(trial, load, "Redis", cut=cut)


def _database_falls_silent(trial: Trial, load: Load, proxy: SwallowingProxy, *, cut: bool) -> None:
    load.keep()
    load.more()
    job = str(load.jobs[0])
    asked = {"status": ["status", job], "jobs": ["jobs"], "retry": ["retry", job], "export": ["export", job, "-o", "x"],
             "submit": ["submit", str(load.file.path), *SUBMIT]}  # fmt: skip
    calm = _took(trial, ["status", job])
    with _watching(trial, load) as watching:
        time.sleep(3 + calm)
        proxy.swallow()
        silent_at = time.monotonic()
        for name, words in asked.items():
            _judge(trial, f"{name} with the database silent", _took(trial, words, 4), calm)
        _ends(trial, watching, silent_at)
        time.sleep(trial.size(5, 0))
    proxy.let_through(cut=cut)
    _goes_on(trial, load, "the database", cut=cut)


def _took(trial: Trial, words: list[str], code: int | None = None) -> float:
    """How long a command takes; infinite where it ends with another status, or not at all."""
    try:
        return _timed(lambda: trial.stack.inkmill(*words, code=code, seconds=120))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        trial.progress(f"  {words[0]}: {str(error)[-300:]}")
        return float("inf")


def _timed(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def _judge(trial: Trial, what: str, took: float, calm: float) -> None:
    limit = 2 * calm + WAIT_SECONDS
    trial.check(f"{what} ends in time, with its status", took <= limit, f"{took:.1f} s, a moment before {calm:.1f} s")


def _watching(trial: Trial, load: Load) -> subprocess.Popen[bytes]:
    """A command that is at work when the database falls silent."""
    command = [*INKMILL, "watch", str(load.jobs[-1])]
    return subprocess.Popen(command, env=trial.stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ends(trial: Trial, watching: subprocess.Popen[bytes], silent_at: float) -> None:
    try:
        status: int | None = watching.wait(60)
    except subprocess.TimeoutExpired:
        watching.kill()
        status = None
    took = time.monotonic() - silent_at
    trial.check("a watch that the silence meets ends, with status 4 or because its job was over", status in (0, 4),
                f"status {status} after {took:.1f} s at most")  # fmt: skip


def _goes_on(trial: Trial, load: Load, silent: str, *, cut: bool) -> None:
    wait = load.seconds_until_progress(3 * RETURN_SECONDS, load.keep)
    what = f"work goes on within {RETURN_SECONDS:.0f} s after {silent} was silent"
    what += "" if cut else ", on connections that stay dead"
    trial.check(what, wait <= RETURN_SECONDS, f"{wait:.1f} s")


def _pause(trial: Trial, load: Load) -> None:
    seconds = trial.size(20, 4)
    load.keep()
    load.more()
    trial.stack.redis.client().client_pause(seconds * 1000, all=True)
    time.sleep(seconds)
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.keep)
    trial.check(
        f"work goes on within {RETURN_SECONDS:.0f} s of a CLIENT PAUSE", wait <= RETURN_SECONDS, f"{wait:.1f} s"
    )


ROW = Row(
    number=6,
    fault="a Redis, then a database, that accept connections and never answer (a proxy that swallows bytes), once with "
    "the old connections cut afterwards and once with them dead for good; CLIENT PAUSE for 20 s",
    promise="no command hangs beyond its stated timeout; 0 lost, 0 double",
    attack=attack,
    environment={"INKMILL_SERVICE_SECONDS": str(SERVICE_SECONDS)},
    databases=("postgresql",),
    note="INKMILL_SERVICE_SECONDS 3 instead of 10",
)
