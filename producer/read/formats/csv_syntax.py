"""How the cells of a table are told apart: what separates them, and whether blanks after that belong to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CsvSyntax:
    """How cells are told apart."""

    delimiter: str
    skips_blanks: bool = False  # after a delimiter

    @property
    def blank_bytes(self) -> bytes:
        """What a row without contents consists of."""
        return self.delimiter.encode() + b" \t\r\n"

    def is_empty(self, raw: bytes) -> bool:
        """Whether there is nothing in a line, not even a delimiter."""
        return not raw.strip(b" \r\n" if self.delimiter == "\t" else None)

    def opens_quote(self, line: bytes) -> bool:
        """Whether the first quote of a line begins a cell."""
        before = line.partition(b'"')[0].rstrip(b" ")
        return not before or before.endswith(self.delimiter.encode())

    def has_blank_before_quote(self, raw: bytes, cells: Sequence[str]) -> bool:
        """Whether a cell was meant to be quoted, but begins with a blank."""
        if self.skips_blanks or b' "' not in raw or not any(map(_begins_with_blank_and_quote, cells)):
            return False
        return re.search(rb'(?:^|%b) +"' % re.escape(self.delimiter.encode()), raw, re.MULTILINE) is not None


def _begins_with_blank_and_quote(cell: str) -> bool:
    return cell.startswith(" ") and cell.lstrip(" ").startswith('"')
