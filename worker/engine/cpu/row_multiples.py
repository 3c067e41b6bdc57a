"""What was found of products on this machine, kept on disk: trying them out again takes longer than loading a model."""

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
from worker.processor import choosing_variables, instruction_set, processor


def row_multiple_of(kind: tuple[object, ...], find: Callable[[], int | None]) -> int | None:
    """What `find` finds, or found before of a product of that kind.

    Args:
        kind: what decides which kernels a product takes: its shape, GELU, dtype and number of threads.
    """
    file = code_folder() / f"rows-{_digest(kind)}.json"
    with suppress(OSError, ValueError):
        known: int | None = json.loads(file.read_text())
        if known is None or known in MULTIPLES:
            return known
    found = find()
    with suppress(OSError):
        _keep(file, json.dumps(found))
    return found


def _digest(kind: tuple[object, ...]) -> str:
    """The folder is named after the CPU and this engine already; a folder may be shared by machines of one kind."""
    machine = (platform.node(), os.cpu_count(), torch.__version__, processor(), instruction_set(), choosing_variables())
    return hashlib.blake2b(repr((kind, machine)).encode(), digest_size=8).hexdigest()


def _keep(file: Path, text: str) -> None:
    """Others may read it at any moment: it appears whole."""
    number, part = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(number, "w") as opened:
        opened.write(text)
    Path(part).replace(file)
