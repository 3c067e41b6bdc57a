"""The folder of a corpus while it is prepared: emptied first, described last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from contract.tunings.prepared_corpus import DESCRIPTION, OUTPUTS, PARTS, documents_file, loss_file, tokens_file


def clear(folder: Path) -> None:
    """Makes the folder, without a corpus in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for part in PARTS:
        for path in (tokens_file(folder, part), loss_file(folder, part), documents_file(folder, part)):
            path.unlink(missing_ok=True)
    (folder / OUTPUTS).unlink(missing_ok=True)


def write_description(folder: Path, described: dict[str, Any]) -> None:
    """The description, on the disk as a whole once everything else is."""
    part = folder / f".{DESCRIPTION}"
    with part.open("w") as file:
        json.dump(described, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / DESCRIPTION)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
