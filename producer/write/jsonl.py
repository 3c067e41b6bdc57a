"""JSON Lines: an object a line, as `producer.write.export_lines` makes them.

`datasets.load_dataset("json")` takes the types from a file's first 10 MB, where a field may be null throughout: of a
larger file, say `chunksize` with more bytes than it has, or load the Parquet form, whose types are fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from db.results.export_rows import LostPrompt, StoredOutput
from producer.write.export_lines import Lines, json_line, lost_line


def write_jsonl(outputs: Iterable[StoredOutput], lines: Lines, file: BinaryIO) -> int:
    """Writes a line for each output. Returns how many."""
    rows = 0
    for output in outputs:
        file.write(json_line(lines.of(output)))
        rows += 1
    return rows


def write_lost_jsonl(prompts: Iterable[LostPrompt], job_id: int, file: BinaryIO) -> int:
    """Writes a line for each dead or cancelled prompt. Returns how many."""
    rows = 0
    for prompt in prompts:
        file.write(json_line(lost_line(job_id, prompt)))
        rows += 1
    return rows
