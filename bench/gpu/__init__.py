"""The parts of bench/on_a_gpu.sh, each a process of its own that prints rows of its table.

With `--small` each runs on a CPU, in a few seconds, which shows that it works and measures nothing.
"""

from __future__ import annotations

import argparse


def parse_arguments(parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """What the command line of a part says."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="on a CPU, with small figures")
    return parser.parse_args()


def row(what: str, found: str) -> None:
    """One row of the table, which the script finds by its beginning."""
    print(f"row: {what} | {found}", flush=True)
