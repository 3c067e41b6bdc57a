"""The processes that a worker's parent starts: what one is told, and the two ways to start it.

`Fresh` is an interpreter of its own. `Forked` begins with all that its parent has imported, which is most of a start;
a parent that has imported nothing yet calls `preload` before. Whoever forks has one thread, no CUDA context and no open
database: a child may have all of those.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn, Protocol

import structlog

TOLD_BY = (signal.SIGTERM, signal.SIGINT)
CHILD = "worker.supervise.main"
NEEDED = (
    CHILD, "worker.engine.load.loading", "worker.runtime.classifiers", "worker.runtime.runtime",
    "worker.tasks.celery_tasks", "worker.maintenance.scheduler", "worker.supervise.consumer",
    "celery.apps.worker", "celery.concurrency.thread", "transformers.models.gpt2.modeling_gpt2",
)  # fmt: skip
"""What a child imports on its way, by itself or through Celery and transformers."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What one worker serves. No classifiers = every built-in one, loaded at first use."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0  # that share a step; 0 = the cores it may use
    safety: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """As the child's command line says it."""
        plain = ["--model", self.model, "--device", self.device, "--dtype", self.dtype, "--threads", str(self.threads)]
        return plain + [word for name in self.safety for word in ("--safety", name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a child is told."""

    worker: str
    parent: int  # its process id
    options: WorkerOptions
    again: bool = False  # the same was ready before, in a process that died

    def command(self) -> list[str]:
        """What starts the child as a fresh interpreter."""
        # -P: the working folder may hold a folder named like a room of ours.
        words = [sys.executable, "-P", "-m", CHILD, "--id", self.worker, "--parent", str(self.parent)]
        return words + self.options.arguments() + (["--again"] if self.again else [])


class Child(Protocol):
    """A process that holds a model, or is about to."""

    def ended(self) -> int | None:
        """Its exit status, less than 0 for a signal; None while it runs."""

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to it. It must not have been seen to end."""


class Fresh:
    """A child that is an interpreter of its own."""

    def __init__(self, start: Start) -> None:
        """
        Raises:
            OSError: no process can be had.
        """
        # A session of its own: Ctrl-C at a terminal reaches the parent alone, which then ends the child in order.
        self._process = subprocess.Popen(start.command(), start_new_session=True, stdin=subprocess.DEVNULL)

    def ended(self) -> int | None:
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class Forked:
    """A child forked from this process."""

    def __init__(self, run: Callable[[], int]) -> None:
        """The child runs `run` and ends with the status that it returns.

        Raises:
            OSError: no process can be had.
        """
        # A child must not take a signal with its parent's handler, which would tell nobody.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_BY)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _be_a_child(run)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def ended(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def send(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)


def _be_a_child(run: Callable[[], int]) -> NoReturn:
    """Runs as a process of its own, and never returns to where its parent was."""
    status = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD_BY)
        status = run()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of an interpreter does
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.exception("the worker process fails")
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # nobody reads it any more, or it was closed from the start
                    stream.flush()
        finally:
            os._exit(status & 0xFF)


def run_here(start: Start) -> int:
    """What a forked child runs. Returns its exit status."""
    return int(import_module(CHILD).main(start))


def preload() -> None:
    """Imports what a child needs, for those that are forked from now on. What cannot be imported, they will say."""
    threshold = gc.get_threshold()
    gc.set_threshold(0)  # imports make a million objects, none of them garbage
    try:
        for name in NEEDED:
            import_module(name)
    except Exception as error:
        log.warning("cannot import ahead", error=str(error))
    gc.set_threshold(*threshold)
    gc.freeze()  # and the pages they lie on stay shared with the children


def sources() -> list[tuple[str, int, int]]:
    """What a child would import of ours now: files, when they were written and their sizes."""
    room = Path(__file__).parents[2]
    files = [path for name in ("common", "contract", "db", "worker") for path in (room / name).rglob("*.py")]
    found = []
    for path in files:
        with suppress(OSError):
            said = path.stat()
            found.append((str(path), said.st_mtime_ns, said.st_size))
    return sorted(found)
