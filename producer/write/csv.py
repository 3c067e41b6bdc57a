"""CSV (RFC 4180): a header and one record an output, in UTF-8. Null is an empty cell; lists and objects are JSON text.

Every text stands there as it is. For spreadsheets, which run some texts as formulas and guess at encodings, those are
guarded and a byte order mark leads.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import orjson

from db.results.export_rows import StoredOutput
from producer.write.table import Table

_INVISIBLE = r"[\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
_FORMULA_START = re.compile(r"'*(?:[\t\r\n]|" + _INVISIBLE + r"[=+\-@＝＋－＠﹦﹢﹣﹫−])")
"""The start of a cell that a spreadsheet may run as a formula: OWASP's list (CSV Injection), also after spaces and
invisible characters, and the signs that compatibility folding (NFKC) or a spreadsheet treats like those in the list."""


def guard_formula(text: str) -> str:
    """`text` as a cell that no spreadsheet runs: if it looks like a formula, an apostrophe is put before it.

    A text that already has apostrophes before such a sign gets one more, so that `unguard_formula` restores any text.
    """
    return "'" + text if _FORMULA_START.match(text) else text


def unguard_formula(cell: str) -> str:
    """The text from which `guard_formula` made `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA_START.match(cell) else cell


def write_csv(outputs: Iterable[StoredOutput], table: Table, file: BinaryIO) -> int:
    """Writes the header and a record for each output. Returns the number of outputs.

    Raises:
        OSError: as `file` does.
    """
    return _write(outputs, table, file, lambda text: text)


def write_spreadsheet_csv(outputs: Iterable[StoredOutput], table: Table, file: BinaryIO) -> int:
    """`write_csv` for a spreadsheet: with a byte order mark, and no cell that looks like a formula.

    Raises:
        OSError: as `file` does.
    """
    file.write(codecs.BOM_UTF8)
    return _write(outputs, table, file, guard_formula)


def _write(outputs: Iterable[StoredOutput], table: Table, file: BinaryIO, text_cell: Callable[[str], str]) -> int:
    rows = 0
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(map(text_cell, table.columns))
        for output in outputs:
            writer.writerow(_cell(value, text_cell) for value in table.cells(output))
            rows += 1
    finally:
        text.detach()  # the caller closes the file
    return rows


def _cell(value: Any, text_cell: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode() if isinstance(value, list) else value
