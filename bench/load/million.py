"""One large job from submit to export through real workers that compute nothing, looked at all the while.

What is measured here is everything but the models: messages, claims, saves, scores' rows, and what a person asks for.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import orjson
import psutil

from bench.chaos.stack import INKMILL, ROOT, Stack, opened
from bench.processes import Run, measured
from bench.prompts import write_prompts
from db.session import Database, open_database
from db.status import snapshot

COMMAND_SECONDS = 5.0
MOST_SECONDS = 4 * 3600.0


@dataclass
class Result:
    """What one job came to."""

    prompts: int
    looks: dict[str, list[float]] = field(default_factory=dict)  # milliseconds, by what was looked at
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
    mine = {"PYTHONPATH": inside, "INKMILL_BENCH_STUBS": "1", "INKMILL_LEASE_SECONDS": "60",
            "INKMILL_SWEEP_SECONDS": "5"}  # fmt: skip
    result = Result(prompts)
    with opened(kind, mine) as stack:
        file = stack.folder / "prompts.jsonl"
        write_prompts(file, prompts)
        stack.have_workers(workers)
        stack.until_ready(workers)
        database = open_database(stack.sql.url)
        try:
            with _looking(stack, result.looks, real_time=real_time):
                _submit(stack, file, result)
                _work(stack, database, result)
                _export(stack, result)
        finally:
            database.close()
        result.database_mb = _size_mb(stack)
    return result


def _submit(stack: Stack, file: Path, result: Result) -> None:
    words = ["inkmill", "submit", str(file), "--model", "demo", "--safety", "demo", "--seed", "1911", "--json"]
    _note(result, "submit", measured(words, stack.env))


def _note(result: Result, stage: str, run: Run) -> None:
    result.seconds[stage], result.peaks_mb[stage] = run.wall, run.peak_mb


def _work(stack: Stack, database: Database, result: Result) -> None:
    """Waits until the job is over, and keeps the most memory that each process of a worker took."""
    start = time.perf_counter()
    own, others = _used(stack), psutil.cpu_times()
    while not (now := snapshot(database, 1)).finished:
        if time.perf_counter() - start > MOST_SECONDS or not all(worker.alive for worker in stack.workers):
            raise RuntimeError(f"the job is {now.status} with {now.settled:,} outputs settled\n{stack.logs()}")
        _keep_peaks(stack, result)
        time.sleep(0.5)
    result.seconds["work"] = time.perf_counter() - start
    after = psutil.cpu_times()
    spent = after.user + after.system + after.nice - others.user - others.system - others.nice
    result.busy = max(0.0, spent - (_used(stack) - own)) / result.seconds["work"]
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
    mine = psutil.Process().cpu_times()
    return float(total + mine.children_user + mine.children_system)


def _family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def _export(stack: Stack, result: Result) -> None:
    target = stack.folder / "texts.jsonl"
    _note(result, "export", measured(["inkmill", "export", "1", "-o", str(target), "--json"], stack.env))
    seen = bytearray(result.prompts)  # a mark for each custom_id: a set of a million would be ours to explain
    with target.open("rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            seen[int(row["custom_id"].removeprefix("night-"))] += 1
            result.rows += 1
    if result.rows != result.prompts or seen != b"\1" * result.prompts:
        raise RuntimeError(f"the export has {result.rows:,} rows, {seen.count(1):,} custom_ids once")


@contextmanager
def _looking(stack: Stack, looks: dict[str, list[float]], *, real_time: bool) -> Iterator[None]:
    """Asks how the job and all jobs stand, every second by the functions and every few by the whole commands."""
    stopping, failures = threading.Event(), list[BaseException]()

    def by_commands() -> None:
        try:
            while not stopping.wait(COMMAND_SECONDS):
                for words in (["jobs"], ["status", "1"]):
                    start = time.perf_counter()
                    done = subprocess.run([*INKMILL, *words, "--json"], env=stack.env, capture_output=True)
                    if done.returncode == 0:  # before the submission there is no job 1
                        name = f"`inkmill {' '.join(words)}`"
                        looks.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=by_commands)
    with _looker(stack, looks), _looker(stack, looks, "first") if real_time else nullcontext():
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
    if failures:
        raise RuntimeError("a look at the job failed") from failures[0]


@contextmanager
def _looker(stack: Stack, looks: dict[str, list[float]], *how: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.load.looker", stack.sql.url, *how]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that looks at the job did not start")
        try:
            yield
        finally:
            process.stdin.close()
            said = process.stdout.read()
    for name, found in orjson.loads(said).items():
        looks[f"{name}, the function{', before all others' if how else ''}"] = found


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
    for name in results[-1].looks:
        _row(f"{name}, ms: median, 99th of 100, longest", [_spread(each.looks.get(name, [])) for each in results])
    sys.stdout.flush()


def _row(name: str, values: list[str]) -> None:
    print(f"| {name} | " + " | ".join(values) + " |")


def _spread(taken: list[float]) -> str:
    if not taken:
        return ""
    ordered = sorted(taken)
    return f"{median(taken):.0f}, {ordered[int(0.99 * (len(ordered) - 1))]:.0f}, {ordered[-1]:.0f} of {len(ordered)}"
