"""The named points inside the program where a fault can be made to happen, and counters that a kill -9 does not lose.

A fault is a file, named after its point, in the folder that INKMILL_CHAOS names; bench.chaos.fault_injection writes it
and says what it may contain. Of all the processes that pass the point, the one that takes the file triggers the fault;
a permanent one stays where it is, and is triggered at each pass.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.on_import import OnImport

FUNCTIONS = {
    "claim-generation": ("db.work.claims", "claim_generation"),
    "claim-scoring": ("db.work.claims", "claim_scoring"),
    "save-texts": ("db.work.outputs", "save_texts"),
    "finish-generation": ("db.work.claims", "finish_generation"),
    "save-scores": ("db.work.outputs", "save_scores"),
    "finish-scoring": ("db.work.claims", "finish_scoring"),
    "renew": ("db.work.claims", "renew_claims"),
    "release": ("db.work.claims", "release_claim"),
    "sweep": ("db.work.recovery", "sweep"),
    "mark-death": ("db.work.recovery", "mark_death"),
    "publish": ("celery.app.base", "Celery.send_task"),
    "generate-step": ("worker.engine.cpu.gpt2", "GPT2.forward"),
    "score-group": ("worker.safety.detoxify", "Classifier.score"),
    "begin-submit": ("db.jobs.ingest", "_begin"),
    "write-chunk": ("db.jobs.ingest", "Ingest._write_chunk"),
    "finish-submit": ("db.jobs.ingest", "Ingest.finish"),
    "discard": ("db.jobs.ingest", "discard"),
}
"""Each has three points: `before-`, `after-` (it returned something) and `inside-`: after one of its statements."""
MID_SCORE = "mid-score"
"""Between two mini-batches of the classifier."""

RAISES, KILLS = "MADE-TO-RAISE", "MADE-TO-KILL"
"""What a prompt says that fails by itself, or takes its process down."""

EATEN_BYTES = 2**24
"""What a process takes at a time that eats memory until the kernel ends it."""

TOKENS, COMPLETIONS, SAVED = range(3)
COUNTERS = 3
FORM = "<Q"
WORKER = "worker"
"""A file of this name and a process' number says under which id SQL knows that process."""


class Faults:
    """The faults that wait in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passed: dict[str, tuple[int, int]] = {}  # point -> which file, and how often it was passed since
        self._lock = threading.Lock()

    def pass_point(self, point: str) -> str | None:
        """Triggers the fault armed at a point, if there is one. Returns its name if the thread survives it."""
        path = self._folder / point
        try:
            number = path.stat().st_ino
        except OSError:
            return None
        with self._lock:
            counter, passed = self._passed.get(point, (0, 0))
            passed = passed + 1 if counter == number else 1
            self._passed[point] = number, passed
        try:
            fault = json.loads(path.read_text())
            if passed <= fault["skip"] or fault["only_pid"] not in (None, os.getpid()):
                return None
            name = f"triggered.{point}.{os.getpid()}.{time.monotonic_ns()}"
            if not fault["permanent"]:
                path.rename(self._folder / name)
            elif passed == fault["skip"] + 1:
                (self._folder / name).touch()
        except (OSError, ValueError):
            return None  # another process was faster
        self._trigger(fault)
        return name

    def note(self, name: str, outcome: str) -> None:
        """Records, in one step, how a call ended that survived its fault."""
        part = self._folder / f"part.{name}"
        part.write_text(outcome)
        part.rename(self._folder / f"outcome.{name}")

    def _trigger(self, fault: dict[str, Any]) -> None:
        if fault["action"] == "raise":
            raise _exception(fault["argument"])
        if fault["action"] == "sleep":
            time.sleep(float(fault["argument"]))
        elif fault["action"] == "hold-the-gil":
            ctypes.PyDLL(None).sleep(int(fault["argument"]))  # unlike CDLL, it keeps Python's global lock
        elif fault["action"] == "eat-memory":
            hoard = []
            while True:
                hoard.append(b"x" * EATEN_BYTES)
        else:
            # To this very thread: one to the process may be met by another, a while later on busy cores.
            signal.pthread_kill(threading.get_ident(), getattr(signal, fault["action"]))


def _exception(name: str) -> Exception:
    if name == "torch.OutOfMemoryError":
        import torch

        return torch.OutOfMemoryError("CUDA out of memory, says the chaos bench")
    built_in: type[Exception] = getattr(__import__("builtins"), name)
    return built_in("made by the chaos bench")


class Counters:
    """Numbers of this process in a file that outlives it."""

    def __init__(self, path: Path) -> None:
        size = COUNTERS * struct.calcsize(FORM)
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)

    def add(self, counter: int, count: int) -> None:
        """Each is counted by one thread at a time."""
        offset = counter * struct.calcsize(FORM)
        struct.pack_into(FORM, self._memory, offset, struct.unpack_from(FORM, self._memory, offset)[0] + count)


class Hooks:
    """Lays the points around the program's functions as its modules are loaded."""

    def __init__(self, folder: Path) -> None:
        self._faults, self._folder = Faults(folder), folder
        self._current = threading.local()
        self._counters: Counters | None = None  # of a process that holds a model

    def attach(self, module: ModuleType) -> None:
        for name, (module_name, path) in FUNCTIONS.items():
            if module_name == module.__name__:
                self._wrap(module, path, lambda call, name=name: self._passing(name, call))  # type: ignore[misc]
        if module.__name__ == "sqlalchemy.engine.base":
            self._wrap(module, "Connection.execute", self._statement)
        elif module.__name__ == "db.work.workers":
            self._wrap(module, "register_worker", self._announcing)
        elif module.__name__ == "worker.engine.sequence":
            self._count(module)
        elif module.__name__ == "worker.safety.detoxify":
            self._wrap(module, "Classifier.score", self._mini_batches)
        elif module.__name__ == "worker.engine.admission":
            self._wrap(module, "admit", _failing_prompts)
        elif module.__name__ == "worker.engine.engine":
            self._wrap(module, "SlotEngine.step", _deadly_prompts)

    def _wrap(self, module: ModuleType, path: str, wrap: Callable[[Any], Any]) -> None:
        owner: Any = module
        *way, name = path.split(".")
        for part in way:
            owner = getattr(owner, part)
        setattr(owner, name, wrap(getattr(owner, name)))

    def _passing(self, name: str, call: Any) -> Any:
        @functools.wraps(call)
        def passing(*args: Any, **kwargs: Any) -> Any:
            triggered = self._faults.pass_point(f"before-{name}")
            outer, self._current.name = getattr(self._current, "name", None), name
            try:
                result = call(*args, **kwargs)
            except BaseException as error:
                if triggered:
                    self._faults.note(triggered, type(error).__name__)
                raise
            finally:
                self._current.name = outer
            if triggered:
                self._faults.note(triggered, "returned")
            if result is not None or not name.startswith("claim"):
                self._faults.pass_point(f"after-{name}")
            if name == "save-texts":
                self._add(SAVED, len(args[2]))
            return result

        return passing

    def _statement(self, execute: Any) -> Any:
        @functools.wraps(execute)
        def executing(*args: Any, **kwargs: Any) -> Any:
            result = execute(*args, **kwargs)
            name = getattr(self._current, "name", None)
            if name is not None:
                self._faults.pass_point(f"inside-{name}")
            return result

        return executing

    def _mini_batches(self, score: Any) -> Any:
        @functools.wraps(score)
        def scoring(classifier: Any, texts: Any, after_batch: Any = None) -> Any:
            def after() -> None:
                self._faults.pass_point(MID_SCORE)
                if after_batch is not None:
                    after_batch()

            return score(classifier, texts, after)

        return scoring

    def _announcing(self, register_worker: Any) -> Any:
        """The first that a process with a model does, forked as it is: from here on it is known, and counts anew."""

        @functools.wraps(register_worker)
        def announcing(database: Any, worker: str, **kwargs: Any) -> Any:
            self._counters = Counters(self._folder / f"counters.{os.getpid()}.{worker}")
            (self._folder / f"{WORKER}.{os.getpid()}").write_text(worker)
            return register_worker(database, worker, **kwargs)

        return announcing

    def _add(self, counter: int, count: int) -> None:
        if self._counters is not None:
            self._counters.add(counter, count)

    def _count(self, module: Any) -> None:
        append, completion = module.Sequence.append, module.Sequence.completion

        def appending(*args: Any, **kwargs: Any) -> Any:
            self._add(TOKENS, 1)
            return append(*args, **kwargs)

        def completing(sequence: Any) -> Any:
            self._add(COMPLETIONS, 1)
            return completion(sequence)

        module.Sequence.append, module.Sequence.completion = appending, completing


def _failing_prompts(admit: Any) -> Any:
    @functools.wraps(admit)
    def admitting(request: Any, *args: Any, **kwargs: Any) -> Any:
        if RAISES in request.prompt:
            raise ValueError("this prompt was made to fail")
        return admit(request, *args, **kwargs)

    return admitting


def _deadly_prompts(step: Any) -> Any:
    @functools.wraps(step)
    def stepping(engine: Any) -> Any:
        if any(KILLS in running.sequence.request.prompt for running in engine._running.values()):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(engine)

    return stepping


def install(folder: str) -> None:
    """Lays the hooks in this process. Nothing of the program is loaded for that."""
    modules = {module for module, _ in FUNCTIONS.values()} | {
        "sqlalchemy.engine.base", "db.work.workers", "worker.engine.sequence", "worker.engine.admission",
        "worker.engine.engine",
    }  # fmt: skip
    OnImport(modules, Hooks(Path(folder)).attach).install()
