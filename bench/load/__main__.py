"""`python -m bench.load`: what the database carries in saves and claims, and a million prompts from submit to export.

bench/README.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.chaos.stack import ROOT
from bench.ingest import databases
from bench.load import claims, million, saves

PARTS = ("saves", "claims", "million")


def main() -> None:
    options = _arguments()
    kinds = [options.only] if options.only else ["sqlite", "postgresql"]
    trees = {"this": ROOT} | ({"the other": options.beside.resolve()} if options.beside else {})
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's server runs as another user where this one is root
        with databases(folder, kinds) as addresses:
            for kind, (address, _) in addresses.items():
                if "saves" in options.parts:
                    saves.measure(kind, address, trees, options.savers, options.saved, options.rounds)
                if "claims" in options.parts:
                    claims.measure(kind, address, trees, options.claimants, options.batches, options.rounds)
    for kind in kinds if "million" in options.parts else []:
        million.report(
            kind, [million.run(kind, count, options.workers, real_time=options.real_time) for count in options.prompts]
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--parts", type=lambda reports: reports.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--prompts", type=_numbers, default=[100_000, 1_000_000], help="of the whole jobs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real-time", action="store_true", help="look a second time, before all others; needs root")
    parser.add_argument("--savers", type=_numbers, default=[1, 2, 4])
    parser.add_argument("--saved", type=int, default=20_480, help="outputs of one measurement")
    parser.add_argument("--claimants", type=_numbers, default=[1, 8, 32])
    parser.add_argument("--batches", type=int, default=4000, help="claimed in one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="a checkout of another state, with a copy of this bench/load in it")
    return parser.parse_args()


def _numbers(reports: str) -> list[int]:
    return [int(word) for word in reports.split(",")]


if __name__ == "__main__":
    main()
