"""The bad lines of a prompt file: counted, the first ones kept for the report, all of them written next to the file.

Knows nothing of file formats; `PromptFile.rows` takes a `BadLines` as `on_bad`.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO

from contract.errors import BadInput, BadLine, InkmillError, Unreachable, UsageError
from producer.write.target import Target

MAX_SHOWN = 20


class BadLines:
    """Counts bad lines, keeps the first `MAX_SHOWN`, and writes the bytes of all to `target`, if there is one.

    The file is created at the first bad line and begins with `header`. It appears, complete, when the `with` block
    succeeds, and only its owner can read it.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(self, source: str, target: Target | None = None, header: bytes = b"") -> None:
        self.first: list[BadLine] = []
        self.total = 0
        self._source, self._target, self._header = source, target, header
        self._file: BinaryIO | None = None
        self._exit_stack = ExitStack()

    def __call__(self, line: BadLine, raw: bytes) -> None:
        self.total += 1
        if len(self.first) < MAX_SHOWN:
            self.first.append(line)
        if self._target is not None:
            self._write(self._target, raw)

    def error(self) -> BadInput:
        """The error that reports them."""
        return BadInput(self._source, self.first, self.total)

    def __enter__(self) -> BadLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._exit_stack.__exit__(kind, error, trace)
        except InkmillError as failure:
            if failure is error or self._target is None or isinstance(failure, Unreachable):
                raise
            raise _unwritable(self._target, failure) from failure

    def _write(self, target: Target, raw: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._exit_stack.enter_context(target.file())
                self._file.write(self._header)
            self._file.write(raw + b"\n")
        except (OSError, InkmillError) as failure:
            raise _unwritable(target, failure) from failure


def _unwritable(target: Target, failure: Exception) -> UsageError:
    return UsageError(f"{target.path}: the bad lines cannot be written here ({failure})")
