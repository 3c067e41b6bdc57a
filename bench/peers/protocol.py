"""What every measured engine does alike: read an order, load, warm up, write the workloads, print one JSON line.

The standard library alone, for this runs in every engine's environment. No engine is known here.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict


class Task(TypedDict):
    """What is asked, as JSON on standard input."""

    model: str  # the folder
    dtype: str  # "fp32", "bf16" or "int8"
    threads: int
    options: dict[str, Any]  # this engine's own
    sampling: dict[str, Any]  # temperature, top_k, top_p
    warm_up: Workload
    workloads: list[Workload]


class Workload(TypedDict):
    """Prompts as token ids, and how many tokens to write for each."""

    name: str
    prompts: list[list[int]]
    lengths: list[int]


class Engine(NamedTuple):
    """An engine with its model loaded."""

    name: str  # with its version
    write: Callable[[Workload], list[int]]  # writes the texts; gives each one's number of tokens


def run_task(load: Callable[[Task], Engine]) -> None:
    """Serves one order. Loading and warming up are not timed; prefill, sampling and all else are.

    Raises:
        RuntimeError: a text is shorter or longer than it was to become.
    """
    task: Task = json.load(sys.stdin)
    engine = load(task)
    _timed(engine, task["warm_up"])
    seconds = {workload["name"]: _timed(engine, workload) for workload in task["workloads"]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB
    tokens = {workload["name"]: sum(workload["lengths"]) for workload in task["workloads"]}
    report = {
        "engine": engine.name,
        "dtype": task["dtype"],
        "seconds": seconds,
        "tokens": tokens,
        "peak_mb": peak,
    }
    print(json.dumps(report), flush=True)
    # Past the libraries' own endings: some abort while their threads are still up, and all is said.
    os._exit(0)


def _timed(engine: Engine, workload: Workload) -> float:
    start = time.perf_counter()
    written = engine.write(workload)
    seconds = time.perf_counter() - start
    if written != workload["lengths"]:
        raise RuntimeError(f"{engine.name} wrote {sum(written):,} tokens, not {sum(workload['lengths']):,}")
    return seconds


def in_batches(task: list[int], size: int) -> list[list[int]]:
    """`task`, a list of indexes, cut into lists of `size`."""
    return [task[start : start + size] for start in range(0, len(task), size)]
