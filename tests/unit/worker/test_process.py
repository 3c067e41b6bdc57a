"""The worker's parent: how soon it starts another process after one died."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.settings import Settings
from db.session import Database, open_database
from db.workers import announce
from tests.unit.db.mill import ABILITY, Mill
from worker.process import FIRST_PAUSE, WorkerOptions, WorkerProcess

DEATHS = 6


class Dying(WorkerProcess):
    """A parent whose children get ready, take up work where they shall, and die at once."""

    def __init__(self, database: Database, home: Path, *, at_work: bool = False, state: str = "ready") -> None:
        super().__init__(WorkerOptions(model="demo"), Settings(home=home), lambda: None, patient=False)
        self._database, self._at_work, self._state = database, at_work, state
        self.pauses: list[float] = []
        self.commands: list[list[str]] = []

    def _run_child(self, worker: str) -> int:
        self.commands.append(self._command(worker))
        announce(self._database, worker, host="h", pid=1, state=self._state, model="demo", dtype="fp32", device="cpu",
                 classifiers=[])  # fmt: skip
        if self._at_work:
            Mill(self._database).claim(replace(ABILITY, worker=worker), suspects=bool(self.pauses))
        return -9

    def _rest(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._stopping = len(self.pauses) == DEATHS


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A parent takes over the signals of its process, which is the test's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
    yield found
    found.close()


def test_a_process_that_died_over_work_is_followed_at_once(database: Database, tmp_path: Path) -> None:
    Mill(database).submit(64, batch_size=64)
    parent = Dying(database, tmp_path, at_work=True)
    parent.run()
    assert parent.pauses == [FIRST_PAUSE] * DEATHS, "the next one runs half of it, and so the culprit is found"


def test_processes_that_die_over_nothing_follow_each_other_ever_more_slowly(database: Database, tmp_path: Path) -> None:
    parent = Dying(database, tmp_path, at_work=False)
    parent.run()
    assert parent.pauses == [FIRST_PAUSE * 2**times for times in range(DEATHS)]


@pytest.mark.parametrize(("state", "again"), [("ready", True), ("starting", False)])
def test_only_what_was_ready_once_may_leave_its_classifiers_for_later(
    database: Database, tmp_path: Path, state: str, again: bool
) -> None:
    parent = Dying(database, tmp_path, state=state)
    parent.run()
    assert "--again" not in parent.commands[0]
    assert all(("--again" in command) == again for command in parent.commands[1:])
