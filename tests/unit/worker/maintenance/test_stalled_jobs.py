"""What stood still for a minute was killed; what advanced, or was looked at a moment ago, is left alone."""

from __future__ import annotations

import pytest

from worker.maintenance import stalled_jobs
from worker.maintenance.stalled_jobs import StalledJobs


def test_a_job_without_progress_between_two_checks_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalled_jobs, "CHECK_SECONDS", 0.0)
    looks = iter([{1: 5, 2: 7}, {1: 5, 2: 8, 3: 1}, {2: 8}])
    killed = StalledJobs(lambda: next(looks))
    assert [killed.jobs() for _ in range(3)] == [[], [1], [2]]


def test_progress_is_checked_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = [1000.0], []
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    killed = StalledJobs(lambda: looks.append(clock[0]) or {1: 5})
    found = []
    for clock[0] in (1000.0, 1030.0, 1059.0, 1061.0):
        found.append(killed.jobs())
    assert found == [[], [], [], [1]]
    assert looks == [1000.0, 1061.0]
