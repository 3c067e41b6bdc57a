"""A data set of the Hugging Face Hub, or of a folder, as the package datasets reads it. It is optional."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from contract.errors import BadLine, InkmillError, Unreachable, UsageError
from producer.corpus.documents.pieces import Piece
from producer.corpus.documents.plain_text import OnBadLine
from producer.corpus.documents.rows import RowDocuments, columns_looked_at
from producer.corpus.documents.source import Unchanging
from producer.read.row_parser import BadRow

ROWS_AT_ONCE = 256
UNREACHABLE = ("ConnectionError", "OfflineModeIsEnabled", "ConnectTimeout", "HfHubHTTPError", "LocalEntryNotFoundError")
"""Errors, by their names, that say that the Hub cannot be reached."""


class DatasetSource(Unchanging):
    """One split of a data set, which is on this disk once it is open.

    Raises:
        UsageError: there is none of that name, or it holds no texts.
        Unreachable: it cannot be fetched.
    """

    notes: list[str] = []  # noqa: RUF012  (there is never anything to say)

    def __init__(self, name: str, config: str | None, split: str, rows: RowDocuments) -> None:
        self.name = "/".join(filter(None, (name, config, split)))
        self._rows = rows
        loaded = _load(name, config, split)
        rows.check_names(loaded.column_names, self.name)
        self._dataset = loaded.select_columns(rows.columns(loaded.column_names))

    def pieces(self, on_bad: OnBadLine) -> Iterator[Piece]:
        number = 0
        for batch in self._dataset.iter(ROWS_AT_ONCE):
            for values in zip(*batch.values(), strict=True):
                number += 1
                try:
                    pieces = list(self._rows.pieces(number, dict(zip(batch, values, strict=True))))
                except BadRow as error:
                    on_bad(BadLine(number, error.problem))
                else:
                    yield from pieces

    def close(self) -> None:
        del self._dataset


def dataset_digest(name: str, config: str | None, split: str, text_column: str | None) -> str:
    """SHA-256 of the rows that a data set has now, as far as they are looked at.

    Raises:
        UsageError: there is none of that name.
        Unreachable: it cannot be fetched.
    """
    loaded = _load(name, config, split)
    digest = hashlib.sha256()
    for batch in loaded.select_columns(columns_looked_at(loaded.column_names, text_column)).iter(ROWS_AT_ONCE):
        digest.update(orjson.dumps(batch, default=str, option=orjson.OPT_SORT_KEYS) + b"\n")
    return digest.hexdigest()


def _load(name: str, config: str | None, split: str) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(
            f"--dataset {name}: data sets are read with the package datasets, which is not installed: pip install "
            "datasets; or give the texts as a file"
        ) from None
    try:
        return load_dataset(name, config, split=split)
    except Exception as error:
        raise _translated(name, error) from error


def _translated(name: str, error: Exception) -> InkmillError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds.intersection(UNREACHABLE):
        return Unreachable(f"--dataset {name}: cannot be fetched ({reason}); try again where the Hub can be reached")
    return UsageError(f"--dataset {name}: cannot be read ({reason}); check it, --config and --split")
