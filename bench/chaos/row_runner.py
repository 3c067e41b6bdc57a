"""Runs one row, alone, on one database."""

from __future__ import annotations

import importlib
import pkgutil
import time
import traceback
from collections.abc import Callable
from random import Random

from bench.chaos import faults
from bench.chaos.oracle import Check
from bench.chaos.stack import Stack, running_stack
from bench.chaos.trial import Row, Trial


def all_rows() -> list[Row]:
    """Every row there is, by its number."""
    names = (module.name for module in pkgutil.iter_modules(faults.__path__))
    found = [importlib.import_module(f"{faults.__name__}.{name}").ROW for name in names]
    return sorted(found, key=lambda row: row.number)


def run_row(
    row: Row, database: str, seed: int, *, short: bool = False, progress: Callable[[str], object] = print
) -> Trial:
    """Runs a row in a stack of its own. What goes wrong on the way is a check that does not hold."""
    with running_stack(database, row.environment) as stack:
        return run_row_in(row, stack, database, seed, short=short, progress=progress)


def run_row_in(
    row: Row, stack: Stack, database: str, seed: int, *, short: bool, progress: Callable[[str], object] = print
) -> Trial:
    """Runs a row in a stack that is there already."""
    random = Random(f"{seed}/{row.number}/{database}")
    trial = Trial(row, stack, random, seed, short, progress)
    started = time.monotonic()
    try:
        row.attack(trial)
    except Exception as error:
        progress(traceback.format_exc())
        progress(stack.logs())
        trial.checks.append(Check("the row ran to its end", False, f"{type(error).__name__}: {error}".splitlines()[0]))
    for line, count in stack.errors().most_common(10):
        progress(f"  in the workers' logs {count} times: {line}")
    trial.seconds_taken = time.monotonic() - started
    return trial
