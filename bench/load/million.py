"""One large job from submit to export through real workers that compute nothing, looked at all the while.

What is measured here is everything but the models: messages, claims, saves, scores' rows, and what a person asks for.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import orjson
import psutil

from bench.chaos.stack import ROOT, Stack, running_stack
from bench.load.status_polls import StatusPoll, polling
from bench.processes import run_measured
from bench.prompts import write_prompts
from db.jobs.status import snapshot
from db.session.engine import Database, open_database

TIMEOUT_SECONDS = 4 * 3600.0
SHOWN_LONGEST = 5
"""So many of the longest answers are told one by one."""


@dataclass
class Result:
    """What one job came to."""

    prompts: int
    polls: dict[str, list[StatusPoll]] = field(default_factory=dict)  # by what was looked at
    started_at: dict[str, float] = field(default_factory=dict)  # when each stage did, by the monotonic clock
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    peaks_mb: dict[str, float] = field(default_factory=dict)  # by process, its largest resident set
    database_mb: float = 0.0
    rows: int = 0
    busy: float = 0.0  # cores that processes other than ours kept busy while the workers worked


def run(kind: str, prompts: int, workers: int, *, real_time: bool) -> Result:
    """Takes a job of so many prompts from submit to export, on a fresh database of that kind.

    Raises:
        RuntimeError: a command failed, or the export is not what it has to be.
    """
    inside = f"{ROOT / 'bench' / 'load' / 'inside'}:{ROOT}"
    # Leases and sweeps as a user has them; the bench of faults shortens them.
    environment = {"PYTHONPATH": inside, "INKMILL_BENCH_STUBS": "1", "INKMILL_LEASE_SECONDS": "60",
            "INKMILL_SWEEP_SECONDS": "5"}  # fmt: skip
    result = Result(prompts)
    with running_stack(kind, environment) as stack:
        file = stack.folder / "prompts.jsonl"
        write_prompts(file, prompts)
        stack.ensure_workers(workers)
        stack.wait_until_ready(workers)
        database = open_database(stack.sql.url)
        try:
            with polling(stack, result.polls, real_time=real_time):
                _submit(stack, file, result)
                _work(stack, database, result)
                _export(stack, result)
        finally:
            database.close()
        result.database_mb = _size_mb(stack)
    return result


def _submit(stack: Stack, file: Path, result: Result) -> None:
    words = ["inkmill", "submit", str(file), "--model", "demo", "--safety", "demo", "--seed", "1911", "--json"]
    _measure(result, "submit", words, stack)


def _measure(result: Result, stage: str, words: list[str], stack: Stack) -> None:
    result.started_at[stage] = time.monotonic()
    run = run_measured(words, stack.env)
    result.seconds[stage], result.peaks_mb[stage] = run.wall, run.peak_mb


def _work(stack: Stack, database: Database, result: Result) -> None:
    """Waits until the job is over, and keeps the most memory that each process of a worker took."""
    start = result.started_at["work"] = time.monotonic()
    used_before, others = _used(stack), psutil.cpu_times()
    while not (now := snapshot(database, 1)).finished:
        if time.monotonic() - start > TIMEOUT_SECONDS or not all(worker.alive for worker in stack.workers):
            raise RuntimeError(f"the job is {now.status} with {now.settled:,} outputs settled\n{stack.logs()}")
        _keep_peaks(stack, result)
        time.sleep(0.5)
    result.seconds["work"] = time.monotonic() - start
    after = psutil.cpu_times()
    spent = after.user + after.system + after.nice - others.user - others.system - others.nice
    result.busy = max(0.0, spent - (_used(stack) - used_before)) / result.seconds["work"]
    if (now.status, now.done, now.settled) != ("completed", result.prompts, result.prompts):
        raise RuntimeError(f"the job is {now.status}: {now.done:,} prompts done, {now.settled:,} outputs settled")


def _keep_peaks(stack: Stack, result: Result) -> None:
    for number, worker in enumerate(stack.workers, 1):
        found = {f"its parent {number}": worker.parent.pid}
        if (child := worker.child) is not None:
            found[f"worker {number}"] = child.pid
        for name, pid in found.items():
            with suppress(OSError):
                result.peaks_mb[name] = max(result.peaks_mb.get(name, 0.0), _peak_mb(pid))


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else 0.0


def _used(stack: Stack) -> float:
    """Seconds of processor time that this run's processes have spent."""
    ours = [psutil.Process(), psutil.Process(stack.redis.pid)]
    ours += [process for worker in stack.workers for process in _family(worker.parent.pid)]
    ours += _family(stack.postgres.pid) if stack.postgres else []
    total = 0.0
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    own = psutil.Process().cpu_times()
    return float(total + own.children_user + own.children_system)


def _family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def _export(stack: Stack, result: Result) -> None:
    target = stack.folder / "texts.jsonl"
    _measure(result, "export", ["inkmill", "export", "1", "-o", str(target), "--json"], stack)
    seen = bytearray(result.prompts)  # a mark for each custom_id: a set of a million would be ours to explain
    with target.open("rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            seen[int(row["custom_id"].removeprefix("night-"))] += 1
            result.rows += 1
    if result.rows != result.prompts or seen != b"\1" * result.prompts:
        raise RuntimeError(f"the export has {result.rows:,} rows, {seen.count(1):,} custom_ids once")


def _size_mb(stack: Stack) -> float:
    if stack.postgres is not None:
        return float(stack.sql.query("SELECT pg_database_size(current_database())")[0][0]) / 1e6
    return sum(path.stat().st_size for path in (stack.folder / "home").glob("inkmill.db*")) / 1e6


def report(kind: str, results: list[Result]) -> None:
    """Prints what jobs of several sizes came to, side by side."""
    print(f"\n{kind}: one job from submit to export; other processes kept "
          + ", ".join(f"{result.busy:.1f}" for result in results) + " cores busy meanwhile")  # fmt: skip
    print("\n| prompts | " + " | ".join(f"{result.prompts:,}" for result in results) + " |")
    print("|---|" + "---|" * len(results))
    for stage in ("submit", "work", "export"):
        _row(f"{stage}, s", [f"{result.seconds[stage]:.1f}" for result in results])
    _row("outputs a second through the workers", [f"{each.prompts / each.seconds['work']:,.0f}" for each in results])
    for name in results[0].peaks_mb:
        _row(f"{name}, peak MB", [f"{result.peaks_mb[name]:.0f}" for result in results])
    _row("database, MB", [f"{result.database_mb:,.0f}" for result in results])
    _row("rows exported, each custom_id once", [f"{result.rows:,}" for result in results])
    for name in results[-1].polls:
        _row(f"{name}, ms: median, 99th of 100, longest", [_spread(each.polls.get(name, [])) for each in results])
    for result in results:
        for name, polls in result.polls.items():
            longest = sorted(polls, key=lambda poll: poll.ms)[: -SHOWN_LONGEST - 1 : -1]
            print(f"\n{result.prompts:,} prompts, the longest of {name}: "
                  + "; ".join(_describe(poll, result.started_at) for poll in longest))  # fmt: skip
    sys.stdout.flush()


def _describe(poll: StatusPoll, started_at: dict[str, float]) -> str:
    """How long a look took, in which stage, and how much of it was the wait for a core."""
    stage, start = max(((name, at) for name, at in started_at.items() if at <= poll.at), key=lambda one: one[1],
                       default=("start", poll.at))  # fmt: skip
    queued = "" if poll.queued_ms is None else f", {poll.queued_ms:.0f} of them waiting for a core,"
    return f"{poll.ms:.0f} ms{queued} {poll.at - start:.1f} s into {stage}"


def _row(name: str, values: list[str]) -> None:
    print(f"| {name} | " + " | ".join(values) + " |")


def _spread(polls: list[StatusPoll]) -> str:
    if not polls:
        return ""
    ordered = sorted(poll.ms for poll in polls)
    return f"{median(ordered):.0f}, {ordered[int(0.99 * (len(ordered) - 1))]:.0f}, {ordered[-1]:.0f} of {len(ordered)}"
