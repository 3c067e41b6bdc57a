"""CSV (RFC 4180): a header and one record an output, UTF-8 without a byte order mark, safe to open in a spreadsheet.

Null is an empty cell, true and false are words, lists and objects are JSON text, numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, BinaryIO

import orjson

from db.results.export_rows import StoredOutput
from producer.write.output_line import COLUMNS, Lines

_INVISIBLE = r"[\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
_FORMULA = re.compile(r"'*(?:[\t\r\n]|" + _INVISIBLE + r"[=+\-@＝＋－＠﹦﹢﹣﹫−])")
"""How a cell begins that a spreadsheet may run: OWASP's list (CSV Injection), after spaces and invisible characters
too, and the signs that compatibility folding (NFKC) or a spreadsheet takes for those."""


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula: an apostrophe before what looks like one.

    What begins with apostrophes before such a sign gets one more, so that taking one away gives every text back.
    """
    return "'" + text if _FORMULA.match(text) else text


def write_csv(outputs: Iterable[StoredOutput], lines: Lines, file: BinaryIO) -> int:
    """Writes the header and a record for each output. Returns how many outputs."""
    rows = 0
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for output in outputs:
            writer.writerow(map(_cell, lines.cells(output)))
            rows += 1
    finally:
        text.detach()  # the file is its opener's to close
    return rows


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode() if isinstance(value, list) else value
