"""Plain text: each line is a prompt; blank lines are skipped."""

from __future__ import annotations

from typing import Any

from producer.read.jsonl import LineReader
from producer.read.lines import text_problem
from producer.read.row_parser import BadRow


class TextReader(LineReader):
    """One prompt a line. Leading and trailing spaces belong to the prompt; the line ending, LF or CRLF, does not."""

    name, extension = "txt", ".txt"

    def fields(self, record: bytes) -> dict[str, Any] | None:
        problem = text_problem(record)
        if problem:
            raise BadRow(problem)
        if not record.strip():
            return None
        return {"prompt": record.removesuffix(b"\r").decode()}
