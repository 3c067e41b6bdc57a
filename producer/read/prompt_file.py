"""Prompt files: opened in any format, checked row by row, in constant memory.

Reads and checks; `producer.submit` decides what becomes of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from contract.errors import BadLine, UsageError
from contract.spec import PromptRow, SamplingSettings, merge
from producer.read.format_detection import find_reader, without_compression
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow, RowParser
from producer.source import STDIN, Source
from producer.unknown_scripts import ScriptCounts

OnBadLine = Callable[[BadLine, bytes], None]
"""Called with each bad line and its bytes; of a line over 1 MB, with its first 1 MB."""


class EmptyInput(UsageError):
    """A prompt file without any prompt or bad line."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: has no prompts; add at least one, or use --allow-empty")


def open_prompt_file(path: str, options: ReadOptions = ReadOptions()) -> PromptFile:
    """Opens a prompt file, which may be compressed; "-" is standard input, which is spooled to disk first.

    Raises:
        UsageError: the file as a whole cannot be used, or not with those options.
    """
    source = Source(path)
    try:
        return PromptFile(path, source, find_reader(source, options.form)(source, options))
    except BaseException:
        source.close()
        raise


class PromptFile:
    """One open prompt file. As a context manager it closes the file, and deletes what was spooled.

    It can be read any number of times. Besides a block of the file, reading takes 24 to 48 bytes of memory
    for each custom_id, to detect duplicates.
    """

    def __init__(self, path: str, source: Source, reader: FormatReader[Any]) -> None:
        self._path, self._source, self._reader = path, source, reader
        self.name = source.name  # shown to users
        self.format = reader.name
        self.model = reader.model  # named in an OpenAI batch file
        self.notes = reader.notes  # what the user should know before the job runs
        self.line = 0  # of the row that `rows` gave last
        self.remarks: list[str] = []  # what the rows gave reason to say; complete once `rows` has been read
        self.scripts = ScriptCounts()  # of the prompts, likewise

    @property
    def options(self) -> ReadOptions:
        """How the user wanted it to be read."""
        return self._reader.options

    def digest(self) -> str:
        """SHA-256 of the file's raw bytes, in hexadecimal."""
        return self._source.digest()

    def check_stat(self) -> None:
        """Checks cheaply, by size and time, that the file was not written to since it was opened.

        Raises:
            UsageError: it was.
        """
        self._source.check_stat()

    def check_contents(self) -> None:
        """Checks that the file still has the bytes of `digest`; otherwise the rows read may be a mixture.

        Raises:
            UsageError: the file was written to.
        """
        self._source.check_contents()

    def accept_any_model(self) -> None:
        """Lines may name any model from now on, since none of them decides."""
        self._reader.any_model = True

    def base_settings(self, flags: Mapping[str, Any]) -> SamplingSettings:
        """The job's settings: `flags` over the format's defaults (OpenAI's, say) over ours.

        Args:
            flags: what the user set for the whole job, as `contract.sampling.read_settings` returns it.

        Raises:
            SettingsError: they contradict each other.
        """
        return merge(SamplingSettings(), {**self._reader.defaults, **flags})

    def rows(self, flags: Mapping[str, Any], on_bad: OnBadLine) -> Iterator[PromptRow]:
        """The good rows, with positions from 0; `on_bad` is called with each bad one, and may raise to stop.

        Rows with the same settings share one mapping of them: do not change it.

        Raises:
            EmptyInput: there is no row, good or bad.
            SettingsError: `flags` contradict each other.
            UsageError: the file is damaged. This may come after good rows, which should then not be used.
        """
        reader = self._reader
        options = self.options
        parser = RowParser(self.base_settings(flags), empty_prompts=options.empty_prompts, system=options.system)
        parse, fields_of = parser.parse, reader.fields
        empty = True
        for line, record in reader.records():
            try:
                fields = fields_of(record)
                if fields is None:
                    continue
                row = parse(fields, line)
            except BadRow as error:
                on_bad(BadLine(line, error.problem), reader.raw(record))
                empty = False
            else:
                self.line = line
                yield row
        if empty and not parser.count:
            raise EmptyInput(self.name)
        self.remarks, self.scripts = parser.remarks(), parser.scripts

    @property
    def bad_path(self) -> Path:
        """Where bad lines are written: next to the input, in a format that can be submitted once they are fixed."""
        if self._path == STDIN:
            return Path("stdin.bad" + self._reader.extension)
        return Path(self._path).with_name(Path(without_compression(self.name)).stem + ".bad" + self._reader.extension)

    @property
    def bad_header(self) -> bytes:
        """The first line of a file of bad lines: for CSV, the header."""
        return self._reader.header

    def close(self) -> None:
        self._reader.close()
        self._source.close()

    def __enter__(self) -> PromptFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
