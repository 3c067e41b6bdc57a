"""`python -m bench.restarts`: how soon a worker is ready at its start, and again after its process was killed.

Another checkout's interpreter (`--beside ../other/.venv/bin/python`) takes turns with this one's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

import psutil
from sqlalchemy import select

from common.addresses import sqlite_url
from db.models import Worker
from db.session.engine import Database, open_database

PATIENCE_SECONDS = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="worker starts of each, in turn [default: 5]")
    parser.add_argument("--kills", type=int, default=3, help="restarts of each of those [default: 3]")
    parser.add_argument("--beside", type=Path, help="the interpreter of another checkout")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--safety", default="demo")
    options = parser.parse_args()
    pythons = {"here": Path(sys.executable)} | ({"beside": options.beside} if options.beside else {})
    events = ["`inkmill worker`", "a first kill -9 of its process", "a later one"]
    seconds_by_event: dict[tuple[str, str], list[float]] = {(name, what): [] for name in pythons for what in events}
    for _ in range(options.rounds):
        for name, python in pythons.items():
            with _worker(python, options.model, options.safety) as (parent, database):
                seconds_by_event[name, events[0]].append(
                    _seconds_until(lambda: _child(parent), lambda pid: pid in _ready(database))
                )
                for number in range(options.kills):
                    seconds_by_event[name, events[min(number + 1, 2)]].append(_time_restart(parent, database))
    print("seconds until a worker is ready, median (least to most, how often), after …")
    for (name, what), seconds in seconds_by_event.items():
        if seconds:
            least, most = min(seconds), max(seconds)
            print(f"{name}: {what}: {median(seconds):.2f} ({least:.2f} to {most:.2f}, {len(seconds)} times)")


@contextmanager
def _worker(python: Path, model: str, safety: str) -> Iterator[tuple[psutil.Process, Database]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("INKMILL_", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="inkmill-restarts-") as home:
        command = [str(python), "-m", "inkmill", "worker", "--model", model, "--safety", safety]
        database = open_database(sqlite_url(Path(home) / "inkmill.db"))
        own = {"INKMILL_HOME": home, "HF_HUB_OFFLINE": "1"}
        # In no checkout: each interpreter finds its own, which is installed for editing.
        process = subprocess.Popen(command, env=clean | own, cwd=home, stderr=subprocess.DEVNULL)
        with closing(database):
            try:
                yield psutil.Process(process.pid), database
            finally:
                subprocess.run([str(python), "-m", "inkmill", "stop"], env=clean | own, cwd=home, capture_output=True)
                process.wait()


def _time_restart(parent: psutil.Process, database: Database) -> float:
    victim = _child(parent)
    psutil.Process(victim).kill()
    return _seconds_until(lambda: _child(parent), lambda pid: pid != victim and pid in _ready(database))


def _seconds_until(look: Callable[[], int], ready: Callable[[int], bool]) -> float:
    start = time.monotonic()
    while not ready(look()):
        if time.monotonic() - start > PATIENCE_SECONDS:
            raise TimeoutError("the worker is not ready")
        time.sleep(0.01)
    return time.monotonic() - start


def _child(parent: psutil.Process) -> int:
    """The process with the model; the daemon that keeps Redis is another child."""
    for child in parent.children():
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "inkmill.local.daemon" not in child.cmdline():
                return child.pid
    return 0


def _ready(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.scalars(select(Worker.pid).where(Worker.state == "ready")))


if __name__ == "__main__":
    main()
