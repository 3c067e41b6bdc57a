"""Checkpoints: which of them count, the last, the best, and when one may go.

A checkpoint counts once its marker is on the disk, which is written last. What is in it is the Trainer's affair.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.tuning.process.folder import read_json, sync, sync_tree

MARKER = "complete"
STATE = "trainer_state.json"
OPTIMIZER = "optimizer.pt"
_NAME = re.compile(r"checkpoint-(\d+)")
SMALLEST_ROOM = 1 << 20  # bytes: a disk with less is full


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete one."""

    folder: Path
    step: int

    @property
    def state(self) -> dict[str, Any]:
        """The Trainer's state as it was then."""
        return dict(read_json(self.folder / STATE))

    @property
    def ended(self) -> bool:
        """Whether training was over with it: at its last step, or by early stopping."""
        return bool(self.state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"])


class Checkpoints:
    """Those in one folder. Nobody else writes there meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def complete(self) -> list[Checkpoint]:
        """Those that count, the oldest first."""
        found = (Checkpoint(path, step) for path, step in self._folders() if (path / MARKER).exists())
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def last(self) -> Checkpoint | None:
        """What to go on from."""
        return next(reversed(self.complete()), None)

    def best(self) -> Checkpoint | None:
        """The one with the smallest validation loss; where nothing was validated, the last."""
        last = self.last()
        if last is None:
            return None
        step = last.state["best_global_step"]
        return next((checkpoint for checkpoint in self.complete() if checkpoint.step == step), last)

    def remove_torn(self) -> None:
        """Removes what a process was writing when it died."""
        for path, _ in self._folders():
            if not (path / MARKER).exists():
                shutil.rmtree(path)

    def seal(self, step: int) -> None:
        """Makes the checkpoint of that step count; then those may go that are neither the last nor the best."""
        folder = self.folder / f"checkpoint-{step}"
        sync_tree(folder)
        sync(self.folder)
        marker = folder / MARKER
        marker.write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
        sync(marker)
        sync(folder)
        self._tidy()

    def _tidy(self) -> None:
        last, best = self.last(), self.best()
        for checkpoint in self.complete():
            if checkpoint not in (last, best):
                (checkpoint.folder / MARKER).unlink()  # first, so that what a kill leaves of it is torn
                shutil.rmtree(checkpoint.folder)
            elif checkpoint != last:
                (checkpoint.folder / OPTIMIZER).unlink(missing_ok=True)  # two thirds of its size: nobody goes on here

    def _folders(self) -> Iterator[tuple[Path, int]]:
        for path in self.folder.glob("checkpoint-*"):
            if match := _NAME.fullmatch(path.name):
                yield path, int(match[1])


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error came of a full disk. torch and safetensors have errors of their own for it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(seen) or "Disk quota exceeded" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    writing = "PytorchStreamWriter" in str(error) or "inline_container" in str(error)
    return writing and shutil.disk_usage(folder).free < SMALLEST_ROOM
