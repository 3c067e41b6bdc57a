"""Plain text: each line is a prompt; blank lines are skipped."""

from __future__ import annotations

from typing import Any

from producer.read.jsonl import LineForm
from producer.read.lines import unreadable
from producer.read.row_parser import BadRow


class Text(LineForm):
    """One prompt a line. Spaces at its ends belong to the prompt; its line ending, LF or CRLF, does not."""

    name, ending = "txt", ".txt"

    def fields(self, record: bytes) -> dict[str, Any] | None:
        problem = unreadable(record)
        if problem:
            raise BadRow(problem)
        if not record.strip():
            return None
        return {"prompt": record.removesuffix(b"\r").decode()}
