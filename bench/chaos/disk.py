"""A small file system that can be filled and freed: a tmpfs of its own, which only root may mount."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BALLAST = "ballast"
CHUNK = bytes(2**16)


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    return os.getuid() == 0


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / BALLAST

    def fill(self) -> None:
        """Takes all that is free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(CHUNK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def full(self) -> bool:
        return os.statvfs(self.folder).f_bavail == 0


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounts one over `folder`, with what is in there, and takes it away at the end with all that it holds then."""
    with tempfile.TemporaryDirectory(prefix="inkmill-chaos-disk-") as name:
        subprocess.run(["cp", "-a", f"{folder}/.", name], check=True)
        options = f"size={megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "inkmill-chaos", str(folder)], check=True)
        try:
            subprocess.run(["cp", "-a", f"{name}/.", str(folder)], check=True)
            yield SmallDisk(folder)
        finally:
            # Lazily: a process that is just ending may still hold a file.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
