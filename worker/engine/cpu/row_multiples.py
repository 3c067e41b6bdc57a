"""In what multiples of rows products come out alike on this machine, kept on disk: to try takes longer than a start."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from worker.engine.compiled.compiling import code_folder
from worker.engine.cpu.linear import MULTIPLES
from worker.processor import instruction_set, kernel_variables, processor


def row_multiple_of(kind: tuple[object, ...], measure: Callable[[], int | None]) -> int | None:
    """What `measure` returns, or returned before for a product of that kind.

    Args:
        kind: what decides which kernels a product takes: its shape, GELU, dtype and number of threads.
    """
    file = code_folder() / f"rows-{_digest(kind)}.json"
    with suppress(OSError, ValueError):
        known: int | None = json.loads(file.read_text())
        if known is None or known in MULTIPLES:
            return known
    multiple = measure()
    with suppress(OSError):
        _write(file, json.dumps(multiple))
    return multiple


def _digest(kind: tuple[object, ...]) -> str:
    """The folder is named after the CPU and this engine already; a folder may be shared by machines of one kind."""
    machine = (platform.node(), os.cpu_count(), torch.__version__, processor(), instruction_set(), kernel_variables())
    return hashlib.blake2b(repr((kind, machine)).encode(), digest_size=8).hexdigest()


def _write(file: Path, text: str) -> None:
    """Others may read it at any moment: it appears all at once."""
    number, part = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(number, "w") as opened:
        opened.write(text)
    Path(part).replace(file)
