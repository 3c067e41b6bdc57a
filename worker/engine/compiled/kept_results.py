"""What was found by trying on this machine, kept on disk beside compiled loops: to try takes longer than a start."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from worker.engine.compiled.compiling import code_folder
from worker.processor import instruction_set, kernel_variables, processor


def kept_result(
    name: str, kind: tuple[object, ...], measure: Callable[[], Any], possible: Callable[[Any], bool]
) -> Any:
    """What `measure` returns, which JSON has to take, or returned before on such a machine for that kind.

    Args:
        name: what is tried; the file's name begins with it.
        kind: all that it depends on besides the machine, torch and this engine's sources.
        possible: whether something can have been returned; what cannot is tried again.
    """
    file = code_folder() / f"{name}-{_digest(kind)}.json"
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text())
        if possible(known):
            return known
    result = measure()
    with suppress(OSError):
        _write(file, json.dumps(result))
    return result


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
