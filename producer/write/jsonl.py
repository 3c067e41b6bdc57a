"""JSON lines: one object a line, as `producer.write.export_lines` makes them.

`datasets.load_dataset("json")` infers the types from a file's first 10 MB, where a field may be null throughout. For a
larger file, pass a `chunksize` larger than the file, or export Parquet, whose types are fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from db.results.export_rows import LostPrompt, StoredOutput
from db.results.json_lines import json_line
from producer.write.export_lines import ExportLines


def write_jsonl(outputs: Iterable[StoredOutput], lines: ExportLines, file: BinaryIO) -> int:
    """Writes a line for each output. Returns the number of outputs.

    Raises:
        OSError: as `file` does.
    """
    rows = 0
    for output in outputs:
        file.write(json_line(lines.line_of(output)))
        rows += 1
    return rows


def write_lost_jsonl(prompts: Iterable[LostPrompt], lines: ExportLines, file: BinaryIO) -> int:
    """Writes a line for each dead or cancelled prompt. Returns the number of prompts.

    Raises:
        OSError: as `file` does.
    """
    rows = 0
    for prompt in prompts:
        file.write(json_line(prompt.line(lines.job_id)))
        rows += 1
    return rows
