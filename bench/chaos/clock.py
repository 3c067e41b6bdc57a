"""A wall clock of one's own, by a small library that is compiled here and loaded before any other (clock.c).

libfaketime would do the same, but the version that Debian has makes time.sleep fail where the monotonic clock is to
stay true.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def can_compile() -> bool:
    """Whether there is a C compiler."""
    return shutil.which("cc") is not None


class FalseClock:
    """The wall clock of every process that was started with `environment`. The machine's own stays as it is."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: where the library and what it reads shall lie; whoever shall be deceived has to be able to enter it.
        """
        self._library, self._offset = folder / "clock.so", folder / "clock"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self._library, SOURCE, "-ldl"], check=True)
        self._library.chmod(0o755)
        self.step(0)
        self._offset.chmod(0o644)

    def step(self, seconds: int) -> None:
        """Sets it that far off the true time, at once, for all of them."""
        # Written over, never replaced: the processes have it in their memory.
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "INKMILL_CHAOS_CLOCK": str(self._offset)}
