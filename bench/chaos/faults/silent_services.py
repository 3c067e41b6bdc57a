"""Row 6: a Redis and a database that accept connections and never answer, and a Redis that pauses its clients."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
AT_A_TIME = 4
SUBMIT = ["--model", MODEL, "--safety", SAFETY]
RETURN_SECONDS = 30.0


def attack(trial: Trial) -> None:
    stack = trial.stack
    assert stack.postgres is not None
    with closing(SwallowingProxy(stack.redis.port)) as redis, closing(SwallowingProxy(stack.postgres.port)) as database:
        stack.environment["INKMILL_REDIS_URL"] = stack.redis.address(redis.port)
        stack.environment["INKMILL_DATABASE_URL"] = stack.postgres.url("chaos", database.port)
        load = Load(trial, trial.size(4600, 1200))
        for cut in (True, False):
            _redis_falls_silent(trial, load, redis, cut=cut)
            _database_falls_silent(trial, load, database, cut=cut)
        _pause(trial, load)
        load.finish()
        load.judge()


def _redis_falls_silent(trial: Trial, load: Load, proxy: SwallowingProxy, *, cut: bool) -> None:
    load.run_for(2)
    commands = {name: words for name, words in _commands(trial, load).items() if name not in ("reflag", "submit")}
    statuses = {"cancel": 2, "doctor": None}  # a job that is over cannot be cancelled
    calm = _time_commands(trial, commands, statuses) | {"submit": _timed(load.submit_another)}
    proxy.swallow()
    for name, seconds in (_time_commands(trial, commands, statuses) | {"submit": _timed(load.submit_another)}).items():
        _judge(trial, f"{name} with Redis silent", seconds, calm[name])
    time.sleep(trial.size(3, 0))
    proxy.let_through(cut=cut)
    _check_progress(trial, load, "Redis", trial.claimed, cut=cut)


def _database_falls_silent(trial: Trial, load: Load, proxy: SwallowingProxy, *, cut: bool) -> None:
    load.sustain()
    load.submit_another()
    commands = {name: words for name, words in _commands(trial, load).items() if name != "doctor"}
    longest = max(
        _time_commands(trial, {name: commands[name] for name in ("status", "jobs", "report", "export")}, {}).values()
    )
    with _watching(trial, load) as watching:
        time.sleep(3 + longest)
        proxy.swallow()
        for name, seconds in _time_commands(trial, commands, dict.fromkeys(commands, 4)).items():
            _judge(trial, f"{name} with the database silent", seconds, longest)
        time.sleep(trial.size(3, 0))
        _still_watches(trial, "while the database is silent", watching)
        proxy.let_through(cut=cut)
        _check_progress(trial, load, "the database", trial.newest, cut=cut)
        _still_watches(trial, "when it is back", watching)
        watching.kill()


def _still_watches(trial: Trial, when: str, watching: subprocess.Popen[bytes]) -> None:
    status = watching.poll()
    trial.check(f"a watch goes on {when}, or its job was over", status in (None, 0), f"status {status}")


def _commands(trial: Trial, load: Load) -> dict[str, list[str]]:
    """What is asked, of the undisturbed job: it is over, and nothing that is said to it changes a thing."""
    job = str(min(trial.stack.ledger.read()))
    return {
        "status": ["status", job],
        "jobs": ["jobs"],
        "report": ["report", job],
        "export": ["export", job, "-o", "texts.jsonl"],
        "cancel": ["cancel", job],
        "retry": ["retry", job],
        "reflag": ["reflag", job, "--threshold", "0.7", "--yes"],
        "submit": ["submit", str(load.file.path), *SUBMIT],
        "doctor": ["doctor"],
    }


def _time_commands(
    trial: Trial, commands: Mapping[str, list[str]], statuses: Mapping[str, int | None]
) -> dict[str, float]:
    """How long each command takes, several at a time; infinite where one does not end with its status.

    Args:
        statuses: those that are not 0; None = any.
    """

    def seconds_taken(name: str) -> float:
        try:
            return _timed(lambda: trial.stack.inkmill(*commands[name], code=statuses.get(name, 0), seconds=120))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            trial.progress(f"  {name}: {str(error)[-300:]}")
            return float("inf")

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(zip(commands, pool.map(seconds_taken, commands), strict=True))


def _timed(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def _judge(trial: Trial, what: str, took: float, calm: float) -> None:
    limit = 2 * calm + WAIT_SECONDS
    trial.check(
        f"{what} ends in time, with its status",
        took <= limit,
        f"{took:.1f} s, a moment before {calm:.1f} s",
    )


def _watching(trial: Trial, load: Load) -> subprocess.Popen[bytes]:
    """A command that is at work when the database falls silent."""
    command = [*INKMILL, "watch", str(load.jobs[-1])]
    return subprocess.Popen(command, env=trial.stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _check_progress(trial: Trial, load: Load, silent: str, seen: Callable[[], int], *, cut: bool) -> None:
    wait = load.seconds_until_progress(3 * RETURN_SECONDS, load.sustain, seen)
    what = f"work goes on within {RETURN_SECONDS:.0f} s after {silent} was silent"
    what += "" if cut else ", on connections that stay dead"
    trial.check(what, wait <= RETURN_SECONDS, f"{wait:.1f} s")


def _pause(trial: Trial, load: Load) -> None:
    seconds = trial.size(20, 4)
    load.sustain()
    load.submit_another()
    trial.stack.redis.client().client_pause(seconds * 1000, all=True)
    time.sleep(seconds)
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, trial.claimed)
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
