"""What the training process says of itself: JSON lines on its standard output, and nothing else there.

Who listens, and what is done about it, is not known here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

BUSY_SECONDS = 5.0
"""How often a sign of life is given while something runs that has no steps: loading, saving, sampling."""
LOADING_SECONDS = 3600.0
"""A base that is not fetched and read by then is taken for one that never will be."""


class Events:
    """Says things, from any thread. `said` receives a line."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say, self._lock = say, threading.Lock()
        self._loaded = threading.Event()  # something was said by the training itself

    @classmethod
    def to_standard_output(cls) -> Events:
        """Takes standard output for events alone: what libraries print there goes to standard error from now on."""
        sys.stdout.flush()
        stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        return cls(lambda line: stream.write(line + "\n"))

    def say(self, kind: str, **values: object) -> None:
        """One event; values are JSON-ready."""
        self._loaded.set()
        self._write(kind, **values)

    def _write(self, kind: str, **values: object) -> None:
        line = json.dumps({"kind": kind, **values}, ensure_ascii=False, allow_nan=False)
        with self._lock:
            self._say(line)

    def alive(self) -> None:
        """A sign of life."""
        self.say("alive")

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self.say("note", text=text)

    def loading(self) -> None:
        """From now on signs of life are given by the clock, until something else is said: importing libraries, fetching
        a base and reading it have no steps. They end after a while, so that a fetch that hangs is noticed."""
        self._loaded.clear()
        self._write("alive")
        until = time.monotonic() + LOADING_SECONDS

        def breathe() -> None:
            while time.monotonic() < until and not self._loaded.wait(BUSY_SECONDS):
                self._write("alive")

        threading.Thread(target=breathe, daemon=True, name="signs of loading").start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """For a block that has no steps: signs of life are given by the clock."""
        done = threading.Event()

        def breathe() -> None:
            while not done.wait(BUSY_SECONDS):
                self.alive()

        thread = threading.Thread(target=breathe, daemon=True, name="signs of life")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.alive()
