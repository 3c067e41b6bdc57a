"""Whether a model's configuration would have code of its own, or of a stranger, fetched and run."""

from __future__ import annotations

import json
from pathlib import Path

from contract.errors import ModelUnavailable


def refuse_kernels(folder: Path) -> None:
    """Refuses a configuration that names kernels of the Hub: transformers fetches and runs those, and asks nobody.

    Raises:
        ModelUnavailable: it names some.
    """
    for path in sorted(folder.glob("config*.json")):  # one may name others, for other versions of the library
        _refuse(path)


def _refuse(path: Path) -> None:
    try:
        waiting: list[object] = [json.loads(path.read_bytes())]
    except (OSError, ValueError, RecursionError):
        return  # whoever loads it says what is wrong with it
    while waiting:
        said = waiting.pop()
        for name, value in said.items() if isinstance(said, dict) else ():
            if "_implementation" in name and "/" in json.dumps(value):
                raise ModelUnavailable(
                    f"{path}: {name} names code to fetch and run ({str(value)[:100]!r}); "
                    "take that entry out: the library's own kernels are used then"
                )
            waiting.append(value)
        if isinstance(said, list):
            waiting += said
