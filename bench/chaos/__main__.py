"""`python -m bench.chaos [--row N ...] [--database D] [--seed S] [--short] [--fresh]`: the table's rows, each alone.

Without --row it goes on with the rows that have no result for this commit yet. docs/reliability.md says what it means.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import signal
import sys
from datetime import UTC, datetime

from bench.chaos import results
from bench.chaos.row_runner import all_rows, run_row
from bench.chaos.trial import DATABASES, Row, Trial


def main() -> int:
    """Runs what was asked for. Returns 1 where something did not hold."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then too
    rows = all_rows()
    at_commit, done = results.commit(), results.read()
    held = True
    for row in rows:
        for database in row.databases:
            if (options.row and row.number not in options.row) or options.database not in (None, database):
                continue
            if not (options.row or options.fresh or options.short) and results.already_holds(
                done, row.number, database, at_commit
            ):
                print(f"row {row.number} on {database}: holds already at {at_commit}", flush=True)
                continue
            held &= _run(row, database, options, at_commit, rows)
    return 0 if held else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--row", type=int, action="append", default=[], help="this row alone; repeatable")
    parser.add_argument("--database", choices=DATABASES, help="this database alone")
    parser.add_argument("--seed", type=int, help="what the random choices come from; drawn and printed otherwise")
    parser.add_argument("--short", action="store_true", help="the short form: small figures, nothing recorded")
    parser.add_argument("--fresh", action="store_true", help="also the rows that have a result for this commit")
    return parser.parse_args()


def _run(row: Row, database: str, options: argparse.Namespace, at_commit: str, rows: list[Row]) -> bool:
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"row {row.number} on {database}, seed {seed}: {row.fault}", flush=True)
    trial = run_row(row, database, seed, short=options.short, progress=lambda line: print(line, flush=True))
    print(
        f"row {row.number} on {database}: {'PASS' if trial.passed else 'FAIL'} in {trial.seconds_taken:.0f} s",
        flush=True,
    )
    if not options.short:
        results.append(_result(trial, database, at_commit))
        results.write_sections(rows, results.read())
    return trial.passed


def _result(trial: Trial, database: str, at_commit: str) -> results.Result:
    words = ["make", "chaos", f"ROW={trial.row.number}", f"DATABASE={database}", f"SEED={trial.seed}"]
    return results.Result(
        row=trial.row.number,
        database=database,
        passed=trial.passed,
        failed=[str(check) for check in trial.checks if not check.holds],
        checks=len(trial.checks),
        figures=trial.figures,
        seed=trial.seed,
        commit=at_commit,
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(trial.seconds_taken, 1),
        command=shlex.join(words),
    )


if __name__ == "__main__":
    sys.exit(main())
