"""What the program has acknowledged, written down outside of it and on the disk before anything is broken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

Acknowledged = dict[int, dict[str, int]]
"""By job: the outputs asked for by custom_id."""


class Ledger:
    """A file of lines (job, custom_id, n), appended and synced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def acknowledge(self, job: int, outputs: Mapping[str, int]) -> None:
        """Notes prompts that the program has taken. On return they are on the disk.

        Args:
            job: the id that the program gave.
            outputs: how many outputs each custom_id shall have.
        """
        with self.path.open("a") as file:
            for custom_id, n in outputs.items():
                file.write(json.dumps([job, custom_id, n]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Acknowledged:
        """Everything acknowledged so far, read back from the disk."""
        found: Acknowledged = {}
        with self.path.open() as file:
            for line in file:
                job, custom_id, n = json.loads(line)
                found.setdefault(job, {})[custom_id] = n
        return found
