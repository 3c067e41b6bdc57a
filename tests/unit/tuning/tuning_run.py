"""Runs of the real training process, forked from a process that has torch loaded already."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.tunings.order import TuningOrder
from tests.unit.tuning.small_corpus import tales, write_corpus

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["worker.tuning.training"])
SECONDS = 240


def small_tuning(
    folder: Path, *, documents: int = 40, validation: int = 6, prompt: str | None = None, **asked: Any
) -> Path:
    """A folder with a corpus and an order, ready to be run; one thread, so that neighbours change nothing."""
    texts = tales(documents), tales(validation, seed=1)
    write_corpus(folder / "corpus", *texts, prompt=prompt)
    order = TuningOrder(**({"name": "tales", "base": "demo", "device": "cpu", "threads": 1} | asked))
    (folder / "order.json").write_text(order.to_text())
    return folder


def _run(folder: str, pipe: str) -> None:
    from worker.tuning.main import main

    output = os.open(pipe, os.O_WRONLY)
    os.dup2(output, 1)
    os.close(output)
    sys.argv = ["worker.tuning.main", folder]
    sys.exit(main())


@dataclass
class TuningRun:
    """One start of the process in a folder."""

    folder: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pipe = self.folder / "standard-output"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        self._process = SERVER.Process(target=_run, args=(str(self.folder), str(pipe)))
        self._process.start()
        self._pipe = pipe.open(encoding="utf-8")

    def listen(self) -> Iterator[dict[str, Any]]:
        """Its events as they come, to the end."""
        for line in self._pipe:
            self.events.append(json.loads(line))
            yield self.events[-1]

    def finish(self) -> int:
        """Its exit status, when it has ended by itself."""
        for _ in self.listen():
            pass
        return self._ended()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        return self.finish()

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def _ended(self) -> int:
        self._process.join(SECONDS)
        assert self._process.exitcode is not None
        return self._process.exitcode
