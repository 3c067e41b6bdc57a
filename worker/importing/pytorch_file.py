"""Files that `torch.save` wrote, read with nothing but tensors and plain values in them, and with their checksums."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from common.wording import on_one_line
from contract.errors import UsageError
from contract.model_kinds.unfetched import unfetched_problem

SHOWN_REASON = 200


def check_file(path: Path) -> None:
    """Reads a file through and compares its checksums, which loading passes over. Old ones have none.

    Raises:
        UsageError: it is damaged, or only the promise of a file.
    """
    try:
        if problem := unfetched_problem(path):
            raise UsageError(problem)
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); copy it once more") from None
    if broken is not None:
        raise UsageError(f"{path}: is damaged (the checksum of {broken} does not match); copy it once more")


def read_file(path: Path) -> Any:
    """What a file holds, its tensors mapped into memory.

    Raises:
        UsageError: it is damaged, no such file, or holds objects that only running code would make.
    """
    check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever it stumbles over in bytes that are no checkpoint
        said = on_one_line(str(error))[:SHOWN_REASON]
        raise UsageError(
            f"{path}: is no checkpoint of PyTorch with tensors and plain values alone, or damaged, and nothing else is "
            f"loaded from it; save it anew with torch.save() of tensors, numbers and texts ({said})"
        ) from None
