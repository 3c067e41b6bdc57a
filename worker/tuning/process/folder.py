"""The folder of one tuning: what lies where, and files that are there whole or not at all.

What is in the files is for others to know.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TuningFolder:
    """The paths in it."""

    path: Path

    @property
    def order(self) -> Path:
        """What was asked for; written by who starts the process."""
        return self.path / "order.json"

    @property
    def corpus(self) -> Path:
        return self.path / "corpus"

    @property
    def settled(self) -> Path:
        """What was chosen before the start."""
        return self.path / "settled.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def before(self) -> Path:
        """What the base model was worth."""
        return self.path / "before.json"

    @property
    def unfinished_result(self) -> Path:
        return self.path / ".result"

    @property
    def result(self) -> Path:
        """The finished model, in transformers' layout."""
        return self.path / "result"

    @property
    def finished(self) -> Path:
        """The marker: what lies in `result` is complete."""
        return self.path / "result.json"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replaces a file; after a power cut it holds the old or the new value, whole."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Returns once all files below a folder are on the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Returns once a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
