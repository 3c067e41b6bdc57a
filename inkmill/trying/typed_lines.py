"""The lines that somebody types, or that a file or another program sends: with history on a terminal."""

from __future__ import annotations

import readline
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from contract.settings import private_folder
from inkmill.show.terminal import messages

SIGN = "> "
LONGEST_HISTORY = 1000


class TypedLines:
    """Lines of standard input until its end."""

    def __init__(self, history: Path) -> None:
        """
        Args:
            history: the file of the lines that were typed on a terminal; made where it is missing.
        """
        self._history = history
        self.from_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._edited = self.from_terminal and sys.stdout.isatty()  # as `input` edits lines, and draws its sign

    def __iter__(self) -> Iterator[str]:
        """Each line without its end. Ctrl-C drops the line that is being typed, Ctrl-D ends them."""
        if self._edited:
            self._read_history()
        while True:
            try:
                line = self._line()
            except KeyboardInterrupt:
                if not self.from_terminal:
                    raise
                messages.print()
                continue
            except EOFError:
                break
            except UnicodeDecodeError:
                messages.print("the line is not UTF-8; type it once more")
                continue
            yield line
        if self.from_terminal:
            messages.print()

    def _line(self) -> str:
        """
        Raises:
            EOFError: there is none any more.
        """
        if self._edited:
            line = input(SIGN)
            self._keep(line)
            return line
        if self.from_terminal:
            messages.print(SIGN, end="")
        content = b"" if sys.stdin is None else sys.stdin.buffer.readline()
        if not content:
            raise EOFError
        return content.decode().removesuffix("\n").removesuffix("\r")

    def _read_history(self) -> None:
        readline.set_history_length(LONGEST_HISTORY)
        with suppress(OSError):  # there is none yet
            readline.read_history_file(self._history)

    def _keep(self, line: str) -> None:
        """Writes the history down, as only its owner may read it; without one where that is not allowed."""
        if not line.strip():
            return
        with suppress(OSError):
            private_folder(self._history.parent)
            self._history.touch(mode=0o600)
            readline.write_history_file(self._history)
