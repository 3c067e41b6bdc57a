"""An output as a row of a table: what CSV and Parquet have in common. Nested values become JSON text.

Knows names and values, not how a format writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from contract.policy import LABELS
from db.results.export_rows import StoredOutput
from producer.write.export_lines import ExportLines
from producer.write.metadata_columns import MetadataColumn

COLUMNS = (
    "id", "job", "custom_id", "position", "sample_index", "prompt", "text", "finish_reason", "tokens", "seed",
    "mean_logprob", *(f"score_{label}" for label in LABELS), "classifier", "classifier_revision", "score_by",
    "deciding_sentences", "flagged", "flag_reasons", "review", "metadata", "model", "revision", "dtype", "device",
    "torch", "engine", "settings", "isa", "threads", "processor", "numerics", "messages", "fitted",
    "copied_tokens", "logprobs", "redacted",
)  # fmt: skip
"""The columns of every table, whatever the job's settings; `scores` becomes one column for each label."""

_JSON_COLUMNS = ("deciding_sentences", "review", "metadata", "settings", "messages", "fitted", "logprobs")
_METADATA_AT = COLUMNS.index("metadata")


class Table:
    """The columns of one export, and its outputs as their cells."""

    def __init__(self, lines: ExportLines, metadata: Sequence[MetadataColumn] | None = None) -> None:
        """
        Args:
            metadata: the columns that stand in place of `metadata`; None = it is one column of JSON text.
        """
        self._lines = lines
        self.metadata = metadata
        between = ["metadata"] if metadata is None else [column.name for column in metadata]
        self.columns = (*COLUMNS[:_METADATA_AT], *between, *COLUMNS[_METADATA_AT + 1 :])

    def cells(self, output: StoredOutput) -> list[Any]:
        """A value for each of `columns`."""
        line = self._lines.line_of(output)
        scores: Mapping[str, float] = line["scores"] or {}
        line.update((f"score_{label}", score) for label, score in scores.items())
        line.setdefault("redacted", False)
        for name in _JSON_COLUMNS:
            value = line.get(name)
            line[name] = None if value is None else orjson.dumps(value).decode()
        cells = [line.get(name) for name in COLUMNS]
        if self.metadata is not None:
            cells[_METADATA_AT : _METADATA_AT + 1] = [column.cell(output.metadata) for column in self.metadata]
        return cells
