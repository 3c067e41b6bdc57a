"""A file of documents, of any of the forms that prompt files have, compressed or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contract.errors import BadLine, UsageError
from producer.corpus.documents.pieces import Piece
from producer.corpus.documents.plain_text import OnBadLine, text_documents
from producer.corpus.documents.rows import RowDocuments
from producer.decompression import decompressed
from producer.read.columns import DataColumns
from producer.read.format_detection import find_reader
from producer.read.formats.openai import OpenAiReader
from producer.read.formats.txt import TextReader
from producer.read.read_options import ReadOptions
from producer.read.reader import FormatReader
from producer.read.row_parser import BadRow
from producer.source import STDIN, Source


class FileSource:
    """One open file; "-" is standard input.

    Args:
        paragraphs: blank lines end documents of plain text.

    Raises:
        UsageError: it cannot be read, or holds no texts.
    """

    def __init__(self, path: str, rows: RowDocuments, options: ReadOptions, *, paragraphs: bool = False) -> None:
        if path != STDIN and Path(path).is_dir():
            raise UsageError(f"{path}: is a folder; name the files in it, for example {Path(path) / '*.txt'}")
        self._source, self._rows, self._paragraphs = Source(path), rows, paragraphs
        self._reader: FormatReader[Any] | None = None
        try:
            self._open(options)
        except BaseException:
            self.close()
            raise
        self.name = self._source.name
        self.notes: list[str] = self._reader.notes if self._reader else []

    def _open(self, options: ReadOptions) -> None:
        kind = find_reader(self._source, options.form, options.noun)
        if kind is OpenAiReader:
            raise UsageError(
                f"{self._source.name}: holds requests to OpenAI's API, and no texts to learn; write prompt and "
                "completion, or messages"
            )
        reader = kind(self._source, options)
        if isinstance(reader, TextReader):
            return
        self._reader = reader
        if self._paragraphs:
            raise UsageError(
                f"--paragraphs: {self._source.name} is read as {kind.name}, whose rows are documents; leave it out"
            )
        columns = getattr(self._reader, "columns", None)
        if isinstance(columns, DataColumns):
            self._rows.check_names(columns.names, self._source.name)

    def pieces(self, on_bad: OnBadLine) -> Iterator[Piece]:
        if self._reader is None:
            stream = decompressed(self._source)
            return text_documents(stream, self.name, on_bad, paragraphs=self._paragraphs)
        return self._of_rows(self._reader, on_bad)

    def _of_rows(self, reader: FormatReader[Any], on_bad: OnBadLine) -> Iterator[Piece]:
        for line, record in reader.records():
            try:
                fields = reader.fields(record)
                pieces = [] if fields is None else list(self._rows.pieces(line, fields))
            except BadRow as error:
                on_bad(BadLine(line, error.problem))
            else:
                yield from pieces

    def digest(self) -> str:
        return self._source.digest()

    def check_stat(self) -> None:
        self._source.check_stat()

    def check_contents(self) -> None:
        self._source.check_contents()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._source.close()
