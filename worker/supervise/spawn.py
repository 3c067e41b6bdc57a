"""The process with the model, which a worker's parent starts: its options, and the two ways to start it.

`FreshProcess` is an interpreter of its own. `ForkedProcess` inherits the imports of its parent, which
saves most of a start; the parent calls `preload` before the first. It may fork because it has one thread, no CUDA
context and no open database; the child may have all of those.
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

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
CHILD_MODULE = "worker.supervise.main"
MADE_WAY = 76
"""The exit status of a process with a model that ended so that its parent can train."""
CHILD_IMPORTS = (
    CHILD_MODULE, "worker.engine.load.loading", "worker.runtime.classifiers", "worker.runtime.runtime",
    "worker.tasks.celery_tasks", "worker.maintenance.sweeper", "worker.supervise.consumer",
    "celery.apps.worker", "celery.concurrency.thread", "transformers.models.gpt2.modeling_gpt2",
)  # fmt: skip
"""The modules that a child imports, directly or through Celery and transformers."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What one worker serves."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0  # of the engine; 0 = one for each core it may use
    safety: tuple[str, ...] = ()  # classifiers to load at the start; none = every built-in one, loaded at first use

    def arguments(self) -> list[str]:
        """As words of the child's command line."""
        words = ["--model", self.model, "--device", self.device, "--dtype", self.dtype, "--threads", str(self.threads)]
        return words + [word for name in self.safety for word in ("--safety", name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a child is started with."""

    worker: str
    parent: int  # its process ID
    options: WorkerOptions
    again: bool = False  # a child with these options was ready before, and died

    def command(self) -> list[str]:
        """The command line that starts the child as a fresh interpreter."""
        # -P: the working folder may contain a folder named like one of our packages.
        words = [sys.executable, "-P", "-m", CHILD_MODULE, "--id", self.worker, "--parent", str(self.parent)]
        return words + self.options.arguments() + (["--again"] if self.again else [])


class Child(Protocol):
    """A process that holds a model, or is about to."""

    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal; `exit_status` must have been None until now."""


class FreshProcess:
    """A child that is an interpreter of its own."""

    def __init__(self, start: Launch) -> None:
        """
        Raises:
            OSError: no process can be created.
        """
        # A session of its own: Ctrl-C at a terminal reaches only the parent, which then ends the child in order.
        self._process = subprocess.Popen(start.command(), start_new_session=True, stdin=subprocess.DEVNULL)

    def exit_status(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class ForkedProcess:
    """A child forked from this process."""

    def __init__(self, run: Callable[[], int]) -> None:
        """The child runs `run` and ends with the status that it returns.

        Raises:
            OSError: no process can be created.
        """
        # Until the child has its own handlers, a signal would be swallowed by its parent's.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _run_as_child(run)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def exit_status(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)


def _run_as_child(run: Callable[[], int]) -> NoReturn:
    """Runs `run` in a process of its own, and never returns to the parent's code."""
    status = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        status = run()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of an interpreter does
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.exception("the worker process failed")
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # its reader is gone, or it was closed from the start
                    stream.flush()
        finally:
            os._exit(status & 0xFF)


def run_child(start: Launch) -> int:
    """What a forked child runs. Returns the exit status."""
    return int(import_module(CHILD_MODULE).main(start))


def preload() -> None:
    """Imports what forked children will need. If an import fails, the children will report it."""
    threshold = gc.get_threshold()
    gc.set_threshold(0)  # imports create a million objects, none of them garbage
    try:
        for name in CHILD_IMPORTS:
            import_module(name)
    except Exception as error:
        log.warning("cannot import ahead", error=str(error))
    gc.set_threshold(*threshold)
    gc.freeze()  # so that their memory pages stay shared with the children


def describe_exit(status: int) -> str:
    """A child's end in words: "was killed by SIGKILL", "exited with status 1"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"was killed by {name}"


def source_files() -> list[tuple[str, int, int]]:
    """Our source files that a child would import now: path, modification time and size of each."""
    root = Path(__file__).parents[2]
    files = [path for name in ("common", "contract", "db", "worker") for path in (root / name).rglob("*.py")]
    stamps = []
    for path in files:
        with suppress(OSError):
            file_status = path.stat()
            stamps.append((str(path), file_status.st_mtime_ns, file_status.st_size))
    return sorted(stamps)
