"""Refuses models whose configuration would have code downloaded and run."""

from __future__ import annotations

import json
from pathlib import Path

from contract.errors import ModelUnavailable


def refuse_remote_kernels(folder: Path) -> None:
    """Refuses a configuration that names kernels on the Hub: transformers downloads and runs those without asking.

    Raises:
        ModelUnavailable: it names such kernels.
    """
    for path in sorted(folder.glob("config*.json")):  # one may name another, for other versions of the library
        _check_file(path)


def _check_file(path: Path) -> None:
    try:
        pending: list[object] = [json.loads(path.read_bytes())]
    except (OSError, ValueError, RecursionError):
        return  # the library that loads it will say what is wrong with it
    while pending:
        item = pending.pop()
        for name, value in item.items() if isinstance(item, dict) else ():
            if "_implementation" in name and "/" in json.dumps(value):
                raise ModelUnavailable(
                    f"{path}: {name} names code to fetch and run ({str(value)[:100]!r}); "
                    "remove that entry, and the library's own kernels are used"
                )
            pending.append(value)
        if isinstance(item, list):
            pending += item
