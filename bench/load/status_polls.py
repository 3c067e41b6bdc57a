"""How a job and all jobs stand, asked all the while that a run goes on: how long each answer took, when, and why.

Knows nothing of what the run does; `status_poller` is the process that asks.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import orjson

from bench.chaos.stack import INKMILL, ROOT, Stack

COMMAND_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class StatusPoll:
    """One answer."""

    at: float  # when it was asked for, by the machine's monotonic clock, the same for all processes
    ms: float
    queued_ms: float | None = None  # the part in which whoever asked, or its server's process, waited for a core


@contextmanager
def polling(stack: Stack, polls: dict[str, list[StatusPoll]], *, real_time: bool) -> Iterator[None]:
    """Asks how the job and all jobs stand, every second by the functions and every few by the whole commands.

    Args:
        polls: where the polls are added, by what was asked.
        real_time: ask a second time, before all other processes.

    Raises:
        RuntimeError: an answer did not come.
    """
    stopping, failures = threading.Event(), list[BaseException]()

    def by_commands() -> None:
        try:
            while not stopping.wait(COMMAND_SECONDS):
                for words in (["jobs"], ["status", "1"]):
                    at = time.monotonic()
                    done = subprocess.run([*INKMILL, *words, "--json"], env=stack.env, capture_output=True)
                    if done.returncode == 0:  # before the submission there is no job 1
                        found = polls.setdefault(f"`inkmill {' '.join(words)}`", [])
                        found.append(StatusPoll(at, 1000 * (time.monotonic() - at)))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=by_commands)
    with _poller(stack, polls), _poller(stack, polls, "first") if real_time else nullcontext():
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
    if failures:
        raise RuntimeError("a look at the job failed") from failures[0]


@contextmanager
def _poller(stack: Stack, polls: dict[str, list[StatusPoll]], *how: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.load.status_poller", stack.sql.url, *how]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that looks at the job did not start")
        try:
            yield
        finally:
            process.stdin.close()
            reports = process.stdout.read()
    for name, found in orjson.loads(reports).items():
        polls[f"{name}, the function{', before all others' if how else ''}"] = [StatusPoll(**poll) for poll in found]
