"""Plain text: each line is a prompt; blank lines are skipped."""

from __future__ import annotations

from typing import Any

from contract.errors import Problem
from producer.read.formats.jsonl import LineReader
from producer.read.lines import BOM, JOINED_FILES, text_problem
from producer.read.row_parser import BadRow

MIXED_LINE_ENDS = Problem(
    "", "has a line end of another kind inside; end every line with LF or CRLF, or write it as JSON lines"
)


class TextReader(LineReader):
    """One prompt a line. Leading and trailing spaces belong to the prompt; the line ending, LF or CRLF, does not."""

    name, extension = "txt", ".txt"

    def fields(self, record: bytes) -> dict[str, Any] | None:
        problem = text_problem(record)
        if problem:
            raise BadRow(problem)
        if not record.strip():
            return None
        prompt = record.rstrip(b"\r\n")
        if b"\r" in prompt or b"\n" in prompt:
            raise BadRow(MIXED_LINE_ENDS)
        if BOM in prompt:
            raise BadRow(JOINED_FILES)
        return {"prompt": prompt.decode()}
