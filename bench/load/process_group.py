"""Processes that get ready, start at the same moment, and say what they did.

Knows nothing of databases; what they do is for `saver` and `claimant`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

TIMEOUT_SECONDS = 600.0


def work_together(module: str, each: Sequence[Sequence[str]], tree: Path) -> tuple[list[dict[str, Any]], float]:
    """Runs a process `python -m MODULE WORDS…` for each list of words, all at once.

    Args:
        tree: the checkout whose code they run.

    Returns:
        What each said, and the seconds from their common start to the end of the last.

    Raises:
        RuntimeError: one of them failed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *words], cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for words in each
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"a process of {module} did not get ready")
        start = time.monotonic()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.close()
        reports = [_report_of(process, module) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return reports, max(report["ended"] for report in reports) - start


def _report_of(process: subprocess.Popen[bytes], module: str) -> dict[str, Any]:
    assert process.stdout is not None
    output = process.stdout.read()
    if process.wait(TIMEOUT_SECONDS):
        raise RuntimeError(f"a process of {module} ended with exit code {process.returncode}")
    report: dict[str, Any] = orjson.loads(output)
    return report


def wait_for_start() -> None:
    """In such a process: says that it is ready, and waits for the start."""
    print("ready", flush=True)
    sys.stdin.readline()


def print_report(**report: object) -> None:
    """In such a process: says what it did. Its end is now; the clock is the machine's, the same for all processes."""
    print(orjson.dumps({"ended": time.monotonic()} | report).decode(), flush=True)
