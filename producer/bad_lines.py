"""The bad lines of a prompt file: counted, the first ones kept for the report, all of them written beside it.

Knows nothing of forms; hand one to `PromptFile.rows` as its `on_bad`.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from contract.errors import BadInput, BadLine, InkmillError, UsageError
from producer.new_file import new_file

MOST_SHOWN = 20


class BadLines:
    """Collects bad lines: the first `MOST_SHOWN` and a count, and with `path` their bytes in a file.

    The file is made at the first bad line and begins with `header`. It appears whole when the block ends well, in place
    of a file or a link of that name, and only its owner can read it.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(self, source: str, path: Path | None = None, header: bytes = b"") -> None:
        self.first: list[BadLine] = []
        self.total = 0
        self._source, self._path, self._header = source, path, header
        self._file: BinaryIO | None = None
        self._open = ExitStack()

    def __call__(self, line: BadLine, raw: bytes) -> None:
        self.total += 1
        if len(self.first) < MOST_SHOWN:
            self.first.append(line)
        if self._path is not None:
            self._write(self._path, raw)

    def error(self) -> BadInput:
        """The report of all of them."""
        return BadInput(self._source, self.first, self.total)

    def __enter__(self) -> BadLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, trace)
        except InkmillError as wrong:
            raise wrong if wrong is error else self._refused(wrong) from wrong

    def _write(self, path: Path, raw: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._open.enter_context(new_file(path))
                self._file.write(self._header)
            self._file.write(raw + b"\n")
        except (OSError, InkmillError) as wrong:
            raise self._refused(wrong) from wrong

    def _refused(self, wrong: Exception) -> UsageError:
        return UsageError(f"{self._path}: the bad lines cannot be written there ({wrong})")
