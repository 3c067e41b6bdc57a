"""The training process: started by the worker's parent when no process with a model is left, heard through a pipe.

Says what it said and whether it hangs. Knows no SQL; what is to be done about either is for `tuner` to say.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.processes import end_with_parent, give_way

TRAINING = (sys.executable, "-P", "-m", "worker.tuning.main")
"""Its command line, but for the folder. -P: the working folder may contain a folder named like one of our packages."""
LONGEST_LINE = 1 << 20
"""Bytes. A genuine event has some thousands, with the samples in it."""
READ_BYTES = 1 << 16
STARTING_SECONDS = 60.0
"""What an interpreter has for its first sign of life on a busy machine. From then on it says that it loads."""
Event = dict[str, Any]


class FolderInUse(Exception):
    """Another training process works in the folder: one whose worker is gone, and which has not ended yet."""


class TrainingProcess:
    """A process that trains in one folder."""

    def __init__(self, folder: Path, *, nice: int = 0, program: Sequence[str] = TRAINING) -> None:
        """Starts it.

        Args:
            nice: how far it leaves the cores to others, as nice(1) counts.

        Raises:
            FolderInUse: another one lives there.
            OSError: no process can be created.
        """
        command = [*program, str(folder)]

        def prepare() -> None:  # in the child, before the program: the parent has one thread, so this may be Python
            end_with_parent()
            give_way(nice)

        with _locked(folder) as lock:
            # The lock is handed on: it is held for as long as either of the two lives.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=prepare,
                pass_fds=(lock,),
            )  # fmt: skip
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._unread, self._said_all = b"", False
        self._looked_at = time.monotonic()
        self._heard_at = self._looked_at + STARTING_SECONDS

    def events(self, patience: float) -> list[Event]:
        """What it has said since the last look; waits so many seconds for something."""
        away = time.monotonic() - self._looked_at
        if away > 2 * patience + 1.0:
            self._heard_at += away  # this process stood still, or waited for the database: nobody listened
        if self._said_all:
            time.sleep(patience)
        else:
            select.select([self._pipe], [], [], patience)
        said = list(self._read())
        self._looked_at = time.monotonic()
        if said:
            self._heard_at = self._looked_at
        return said

    def _read(self) -> Iterator[Event]:
        with suppress(BlockingIOError):
            while block := os.read(self._pipe, READ_BYTES):
                *lines, self._unread = (self._unread + block).split(b"\n")
                self._unread = b"" if len(self._unread) > LONGEST_LINE else self._unread
                yield from _events(lines)
            self._said_all = True

    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs. What it said last may be unread yet."""
        return self._process.poll()

    def silent_seconds(self) -> float:
        """How long it has given no sign of life; before the first one, how long that is overdue."""
        return max(0.0, time.monotonic() - self._heard_at)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it still runs."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Ends it where it still runs, and forgets it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _events(lines: list[bytes]) -> Iterator[Event]:
    """Those lines that are events: a library may write others."""
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("kind"), str):
                yield event


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """A lock on the folder, as an open file that a process can inherit; released when the last of them closes it."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(str(folder)) from None
        except OSError:  # a shared file system without locks: the lease alone keeps others out
            pass
        yield lock
    finally:
        os.close(lock)
