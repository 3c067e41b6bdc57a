"""The worker's parent: how soon it starts another process after one died."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from contract.errors import DatabaseUnreachable, ExitCode
from contract.settings import Settings
from db.models import Worker
from db.session.engine import Database, open_database
from db.work.workers import record_heartbeat, register_worker
from tests.unit.db.mill import ABILITY, Mill
from worker.supervise import spawn, supervisor
from worker.supervise.spawn import Child, Launch, WorkerOptions
from worker.supervise.supervisor import FIRST_PAUSE, MAX_FAILED_STARTS, Supervisor

DEATHS = 6


class Dying(Supervisor):
    """A parent whose children get ready, take up work where they shall, and die at once."""

    def __init__(
        self, database: Database, home: Path, *, at_work: bool = False, state: str = "ready", status: int = -9,
        ready_first: bool = False, rests: int = DEATHS,
    ) -> None:  # fmt: skip
        super().__init__(WorkerOptions(model="demo"), Settings(home=home), lambda: None, wait_for_database=False)
        self._database, self._at_work, self._rests = database, at_work, rests
        self._end, self._first_end = (state, status), ("ready", -9) if ready_first else (state, status)
        self.pauses: list[float] = []
        self.starts: list[Launch] = []

    def _run_child(self, worker: str) -> int:
        self.starts.append(self._launch(worker))
        state, status = self._first_end if len(self.starts) == 1 else self._end
        register_worker(self._database, worker, host="h", pid=1, state=state, model="demo", dtype="fp32", device="cpu",
                 revision="r" if state == "ready" else None, classifiers=[])  # fmt: skip
        if self._at_work:
            Mill(self._database).claim(replace(ABILITY, worker=worker), suspects=bool(self.pauses))
        return status

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._stopping = len(self.pauses) == self._rests


class Forking(Dying):
    """A parent that forks for real, children that do something else."""

    def __init__(
        self, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch, child: Callable[[Launch], int],
        rests: int = DEATHS,
    ) -> None:  # fmt: skip
        super().__init__(database, home, rests=rests)
        self._config = Settings(home=home, database_url=database.engine.url.render_as_string(hide_password=False))
        self.statuses: list[int] = []
        module = ModuleType("another_child")
        module.main = child  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(spawn, "CHILD_MODULE", module.__name__)

    def _run_child(self, worker: str) -> int:
        self._last_was_ready = True
        self.statuses.append(Supervisor._run_child(self, worker))
        return self.statuses[-1]


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A parent takes over the signals of its process, which is the test's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def preloads(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that a parent imported what its children need."""
    found: list[None] = []
    monkeypatch.setattr(supervisor, "preload", lambda: found.append(None))
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
    yield found
    found.close()


def test_a_process_that_died_holding_work_is_restarted_at_once(database: Database, tmp_path: Path) -> None:
    Mill(database).submit(64, batch_size=64)
    parent = Dying(database, tmp_path, at_work=True)
    parent.run()
    assert parent.pauses == [FIRST_PAUSE] * DEATHS, "the next one runs half of it, and so the culprit is found"


def test_processes_that_die_without_work_are_restarted_ever_more_slowly(database: Database, tmp_path: Path) -> None:
    parent = Dying(database, tmp_path, at_work=False)
    parent.run()
    assert parent.pauses == [FIRST_PAUSE * 2**times for times in range(DEATHS)]


def test_a_worker_that_was_ready_once_never_gives_up(database: Database, tmp_path: Path) -> None:
    parent = Dying(database, tmp_path, state="starting", ready_first=True, rests=2 * MAX_FAILED_STARTS)
    assert parent.run() == 0
    assert len(parent.starts) == 2 * MAX_FAILED_STARTS


def test_a_worker_that_was_never_ready_gives_up_after_five_deaths(database: Database, tmp_path: Path) -> None:
    parent = Dying(database, tmp_path, state="starting")
    assert parent.run() == ExitCode.UNREACHABLE
    assert len(parent.starts) == MAX_FAILED_STARTS
    assert "before its model was loaded" in said_by(database)[-1]


@pytest.mark.parametrize(("ready_first", "starts"), [(False, 1), (True, DEATHS)])
def test_a_model_that_cannot_be_loaded_is_final_unless_it_was_loaded_before(
    database: Database, tmp_path: Path, ready_first: bool, starts: int
) -> None:
    parent = Dying(database, tmp_path, state="failed", status=ExitCode.UNREACHABLE, ready_first=ready_first)
    parent.run()
    assert len(parent.starts) == starts


def test_a_process_that_cannot_be_started_is_tried_again_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, fork = iter([OSError(12, "Cannot allocate memory")] * 3), os.fork

    def scarce() -> int:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return fork()

    monkeypatch.setattr(os, "fork", scarce)
    parent = Forking(database, tmp_path, monkeypatch, lambda start: os.kill(os.getpid(), signal.SIGKILL))
    parent.run()
    assert parent.pauses == [FIRST_PAUSE * 2**times for times in range(DEATHS)]
    assert [parent.statuses.count(status) for status in (os.EX_OSERR, -signal.SIGKILL)] == [3, DEATHS - 3]


def test_a_child_has_its_own_session_and_nothing_of_its_parents_database(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's locks are lost by a process that closes any descriptor of the file, a forked one's too."""
    seen = tmp_path / "seen"

    def child(start: Launch) -> int:
        files = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()]
        seen.write_text(f"{os.getsid(0) == os.getpid()} {[file for file in files if str(tmp_path) in file]}")
        return 7

    parent = Forking(database, tmp_path, monkeypatch, child, rests=1)
    database.close()
    parent.run()
    assert parent.statuses == [7]
    assert seen.read_text() == "True []"


def test_a_child_that_is_stopped_as_it_begins_stops(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent's handler would take the signal and tell nobody."""

    def child(start: Launch) -> int:
        time.sleep(60)
        return 0

    class Told(Forking):
        def _wait_for(self, child: Child) -> int:
            child.send_signal(signal.SIGTERM)
            return super()._wait_for(child)

    begun = time.monotonic()
    parent = Told(database, tmp_path, monkeypatch, child, rests=3)
    parent.run()
    assert parent.statuses == [-signal.SIGTERM] * 3
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("committed", [False, True])
def test_one_death_is_counted_once_however_long_the_database_is_away(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    failures = iter([DatabaseUnreachable("the disk is full")] * 10)

    def away(*args: Any, **kwargs: Any) -> None:
        failure = next(failures, None)
        if failure is None or committed:
            record_heartbeat(*args, **kwargs)
        if failure is not None:
            raise failure

    monkeypatch.setattr(supervisor, "record_heartbeat", away)
    parent = Dying(database, tmp_path, state="starting", rests=12)
    parent.run()
    assert len(parent.starts) == 2, "ten waits were for the database, one for another start, one was the end"
    assert said_by(database) == ["the process was killed by SIGKILL"] * 2


def test_the_next_process_starts_even_if_a_death_cannot_be_recorded(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("no such table: batches")

    monkeypatch.setattr(supervisor, "mark_death", gone)
    parent = Dying(database, tmp_path)
    parent.run()
    assert len(parent.starts) == DEATHS


def test_only_after_a_ready_process_is_the_next_one_forked_with_imports_made_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloads: list[None]
) -> None:
    ways: list[str] = []

    class Ended:
        def __init__(self, *_: object) -> None:
            ways.append(self.__class__.__name__)

        def exit_status(self) -> int:
            return -9

        def send_signal(self, number: signal.Signals) -> None:
            raise AssertionError("it has ended")

    class Parent(Dying):
        def _run_child(self, worker: str) -> int:
            self._end = ("ready" if len(self.starts) in (0, 1, 4, 5) else "starting", -9)
            Dying._run_child(self, worker)
            return Supervisor._run_child(self, worker)

    monkeypatch.setattr(supervisor, "FreshProcess", type("fresh", (Ended,), {}))
    monkeypatch.setattr(supervisor, "ForkedProcess", type("forked", (Ended,), {}))
    Parent(database, tmp_path, ready_first=True).run()
    assert ways == ["fresh", "forked", "forked", "fresh", "fresh", "forked"]
    assert len(preloads) == 1


def test_after_a_change_of_the_source_files_a_fresh_interpreter_is_started(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def fresh(start: Launch) -> None:
        raise Seen

    monkeypatch.setattr(supervisor, "FreshProcess", fresh)
    parent = Forking(database, tmp_path, monkeypatch, lambda start: 7, rests=1)
    parent.run()
    monkeypatch.setattr(supervisor, "source_files", list)
    with pytest.raises(Seen):
        parent._run_child("w")
    assert parent.statuses == [7]


def test_a_failed_import_before_a_fork_is_left_to_the_child(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spawn, "CHILD_IMPORTS", ("no_such_module",))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    threshold = gc.get_threshold()
    spawn.preload()
    assert "no_such_module" in capsys.readouterr().out
    assert gc.get_threshold() == threshold


def test_a_parent_started_with_sigchld_ignored_still_sees_children_end(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some who start us leave it
    parent = Forking(database, tmp_path, monkeypatch, lambda start: 7, rests=2)
    parent.run()
    assert parent.statuses == [7, 7]


@pytest.mark.parametrize("target", ["a pipe that nobody reads", "/dev/full"])
def test_an_unwritable_log_stops_no_child_and_changes_no_exit_status(target: str) -> None:
    program = """
import os, signal, sys
import structlog
from worker.supervise.logs import configure
from worker.supervise.spawn import ForkedProcess
if sys.argv[1].startswith("/"):
    os.dup2(os.open(sys.argv[1], os.O_WRONLY), 2)
else:
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(read)
configure()
structlog.get_logger().warning("lost")
for status in (4, 0):
    def run():
        structlog.get_logger().warning("lost too")
        return status
    child = ForkedProcess(run)
    while (ended := child.exit_status()) is None:
        pass
    if ended != status:
        os._exit(1)
os._exit(0)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    assert subprocess.run([sys.executable, "-c", program, target], env=environment, check=False).returncode == 0


def said_by(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(Worker.error).order_by(Worker.started_at)))


@pytest.mark.parametrize(
    ("state", "status", "again"), [("ready", -9, True), ("ready", 0, True), ("starting", -9, False)]
)
def test_only_a_worker_that_was_ready_before_loads_its_classifiers_later(
    database: Database, tmp_path: Path, state: str, status: int, again: bool
) -> None:
    parent = Dying(database, tmp_path, state=state, status=status)
    parent.run()
    assert [start.again for start in parent.starts] == [False] + [again] * (len(parent.starts) - 1)
