"""Processes that are measured: from their start to their end, or while another one runs beside them.

Knows how to time; what is timed is for `bench.ingest` to say.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import psutil

PRIORITY = 5
"""Among the real-time ones; any is before all ordinary processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process, from its start to its end."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak_mb: float  # its ru_maxrss
    report: dict[str, Any]  # its report, where it prints one
    server_cpu: float = 0.0  # seconds that PostgreSQL's processes spent for it


def run_measured(arguments: list[str], environment: Mapping[str, str], server: int | None = None) -> Run:
    """Runs `python -m arguments…` and waits for it.

    Args:
        server: the process id of the PostgreSQL server it uses.

    Raises:
        RuntimeError: it failed.
    """
    before = _server_cpu(server)
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        # wait4 is the one call that tells one child's memory from another's.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments[:2])} ended with exit code {process.returncode}")
    return Run(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1024,  # Linux counts KiB
        report=orjson.loads(output) if output.startswith(b"{") else {},
        server_cpu=_server_cpu(server) - before,
    )


def _server_cpu(server: int | None) -> float:
    """Seconds of CPU that a server and its processes have spent, those that have ended included."""
    if server is None:
        return 0.0
    parent = psutil.Process(server)
    times = parent.cpu_times()
    spent: float = times.user + times.system + times.children_user + times.children_system
    for child in parent.children():
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system
    return spent


@contextmanager
def small_writes(url: str, environment: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Another process writes a little every 50 ms; the mapping holds its report once the block has ended."""
    report: dict[str, float] = {}
    command = [sys.executable, "-m", "bench.small_writes", url]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that writes a little did not start")
        yield report
        process.stdin.close()
        report |= orjson.loads(process.stdout.read())


@contextmanager
def real_time_priority(server: int | None = None) -> Iterator[None]:
    """Runs this process, its threads and a server's processes before all others, which wait; Linux, as root.

    Raises:
        PermissionError: this user may not.
    """
    threads_and_processes = [int(thread) for thread in os.listdir("/proc/self/task")]
    if server is not None:
        threads_and_processes += [server, *(child.pid for child in psutil.Process(server).children(recursive=True))]
    for task_id in threads_and_processes:
        os.sched_setscheduler(task_id, os.SCHED_RR, os.sched_param(PRIORITY))
    try:
        yield
    finally:
        for task_id in threads_and_processes:
            with suppress(ProcessLookupError):  # it is over
                os.sched_setscheduler(task_id, os.SCHED_OTHER, os.sched_param(0))
