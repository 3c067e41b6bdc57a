"""A wall clock of one's own: libfaketime, which is told by a file how far off the clock of its processes is.

The monotonic clock stays true, as it does when an administrator or NTP steps a machine's clock.
"""

from __future__ import annotations

from pathlib import Path

LIBRARIES = tuple(
    f"/usr/lib/{folder}faketime/libfaketimeMT.so.1" for folder in ("x86_64-linux-gnu/", "aarch64-linux-gnu/", "")
)


def library() -> str | None:
    """Where libfaketime lies; None where it is not installed."""
    return next((path for path in LIBRARIES if Path(path).exists()), None)


class FalseClock:
    """The wall clock of every process that was started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "faketime"
        self.step(0)
        self._file.parent.chmod(0o755)

    def step(self, seconds: int) -> None:
        """Sets it that far off the true time, at once, for all of them."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}s\n")
        part.chmod(0o644)
        part.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": library() or "",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
