"""What the training process says of itself: JSON lines on its standard output, and nothing else there.

Who listens, and what is done about it, is not known here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

BUSY_SECONDS = 5.0
"""How often a sign of life is given while something runs that has no steps: loading, saving, sampling."""


class Events:
    """Says things, from any thread. `said` receives a line."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say, self._lock = say, threading.Lock()

    @classmethod
    def to_standard_output(cls) -> Events:
        """Takes standard output for events alone: what libraries print there goes to standard error from now on."""
        sys.stdout.flush()
        stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        return cls(lambda line: stream.write(line + "\n"))

    def say(self, kind: str, **values: object) -> None:
        """One event; values are JSON-ready."""
        line = json.dumps({"kind": kind, **values}, ensure_ascii=False, allow_nan=False)
        with self._lock:
            self._say(line)

    def alive(self) -> None:
        """A sign of life."""
        self.say("alive")

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self.say("note", text=text)

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
