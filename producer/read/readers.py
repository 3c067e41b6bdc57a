"""Prompt files: opened in any form, checked row by row, in constant memory.

Reads and checks; what becomes of the rows is for `producer.submit` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from contract.errors import BadLine, UsageError
from contract.spec import PromptRow, SamplingSettings, merge
from producer.read.admission import Admission, BadRow
from producer.read.form import Form
from producer.read.sniffing import find_form, without_compression
from producer.source import STDIN, Source

OnBad = Callable[[BadLine, bytes], None]
"""Called with each bad line and its bytes, as far as they were read: of a line over 1 MB, its first 1 MB."""


class EmptyInput(UsageError):
    """A prompt file with no prompt in it, and no bad line either."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: has no prompts; add at least one, or use --allow-empty")


def open_input(path: str) -> PromptFile:
    """Opens a prompt file; "-" is standard input, which is spooled to disk first.

    Args:
        path: the file, plain or compressed with gzip or zstd.

    Raises:
        UsageError: the file as a whole cannot be used.
    """
    source = Source(path)
    try:
        return PromptFile(path, source, find_form(source)(source))
    except BaseException:
        source.close()
        raise


class PromptFile:
    """One open prompt file. A context manager: closing it lets go of the file, and of what was spooled.

    It can be read any number of times. Beside a block of the file, reading keeps 24 to 48 bytes of memory
    for each custom_id, so that a second one is found.
    """

    def __init__(self, path: str, source: Source, form: Form[Any]) -> None:
        self._path, self._source, self._form = path, source, form
        self.name = source.name  # shown to users
        self.form = form.name
        self.model = form.model  # what an OpenAI batch file names
        self.notes = form.notes  # what a user should know before it runs

    def digest(self) -> str:
        """SHA-256 of the file's raw bytes, in hexadecimal."""
        return self._source.digest()

    def check_untouched(self) -> None:
        """Raises UsageError where somebody wrote to the file since it was opened, as far as its size and time tell."""
        self._source.check_untouched()

    def check_unchanged(self) -> None:
        """Raises UsageError where the file is not any more what `digest` says: rows read of it may be mixed ones."""
        self._source.check_unchanged()

    def base_settings(self, flags: Mapping[str, Any]) -> SamplingSettings:
        """The job's settings: `flags` over the form's defaults (OpenAI's, in its form) over ours.

        Args:
            flags: what the user said for the whole job, as `contract.sampling.read_settings` gives it.

        Raises:
            SettingsError: they do not go together.
        """
        return merge(SamplingSettings(), {**self._form.defaults, **flags})

    def rows(self, flags: Mapping[str, Any], on_bad: OnBad) -> Iterator[PromptRow]:
        """The good rows, positions from 0; `on_bad` is told of each other one, and may raise to end it all.

        Rows that say the same settings share one mapping of them: it is not to be changed.

        Raises:
            EmptyInput: there is no row, neither good nor bad.
            SettingsError: `flags` do not go together.
            UsageError: the file is damaged. This may come after good rows: none of them should then be used.
        """
        form, admission = self._form, Admission(self.base_settings(flags))
        admit, read = admission.admit, form.fields
        empty = True
        for number, record in form.records():
            try:
                fields = read(record)
                if fields is None:
                    continue
                row = admit(fields, number)
            except BadRow as wrong:
                on_bad(BadLine(number, wrong.problem), form.raw(record))
                empty = False
            else:
                yield row
        if empty and not admission.count:
            raise EmptyInput(self.name)

    @property
    def bad_path(self) -> Path:
        """Where bad lines are written: beside the input, in a form that can be submitted once they are mended."""
        if self._path == STDIN:
            return Path("stdin.bad" + self._form.ending)
        return Path(self._path).with_name(Path(without_compression(self.name)).stem + ".bad" + self._form.ending)

    @property
    def bad_header(self) -> bytes:
        """What a file of bad lines has to begin with: of CSV, the header."""
        return self._form.header

    def close(self) -> None:
        self._form.close()
        self._source.close()

    def __enter__(self) -> PromptFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
