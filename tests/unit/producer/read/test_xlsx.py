"""Excel workbooks as prompt files: a cell is what a spreadsheet would write into CSV."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest

from contract.errors import UsageError
from producer.read.prompt_file import EmptyInput
from tests.unit.producer.read.test_own_output import Reading


def workbook(rows: Sequence[Sequence[object]], *others: str) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    for title in others:
        book.create_sheet(title)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def changed(data: bytes, name: str, old: bytes, new: bytes) -> bytes:
    """The workbook with a part of one of its files replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as after:
        for member in before.namelist():
            content = before.read(member)
            if member == name:
                assert old in content
                content = content.replace(old, new)
            after.writestr(member, content)
    return file.getvalue()


ROWS: list[list[Any]] = [
    ["prompt", "custom_id", "temperature", "topic", "day"],
    ["Once upon", 7, 0.5, "sea", date(2026, 1, 2)],
    [],
    [2024, "b", None, True, datetime(2026, 1, 2, 3, 4)],
]


@pytest.mark.parametrize("name", ["p.xlsx", "p.XLSX", "p.xlsm", "p.xlsx.gz"])
def test_rows_are_read_as_those_of_csv(read: Reading, name: str) -> None:
    data = workbook(ROWS)
    found = read(gzip.compress(data) if name.endswith("gz") else data, name)
    assert not found.bad
    assert [(row.prompt, row.custom_id) for row in found.rows] == [("Once upon", "7"), ("2024", "b")]
    assert [row.settings for row in found.rows] == [{"temperature": 0.5}, None]
    assert [row.metadata for row in found.rows] == [
        {"topic": "sea", "day": "2026-01-02T00:00:00"},
        {"topic": "true", "day": "2026-01-02T03:04:00"},
    ]


def test_bad_rows_are_told_by_the_row_that_a_spreadsheet_shows(read: Reading) -> None:
    found = read(
        workbook([["prompt", "temperature"], ["a", "warm"], [None, 1], ["b", 1, "beyond"], ["#N/A"]]), "p.xlsx"
    )
    assert [bad.number for bad in found.bad] == [2, 3, 4, 5]


def test_other_sheets_are_told(read: Reading) -> None:
    found = read(workbook(ROWS, "notes", "more"), "p.xlsx")
    assert "the first sheet is read, and not the others (notes, more)" in found.notes


def test_dimensions_that_a_file_misstates_do_not_matter(read: Reading) -> None:
    data = changed(workbook(ROWS), "xl/worksheets/sheet1.xml", b'<dimension ref="A1:E4"', b'<dimension ref="A1"')
    assert len(read(data, "p.xlsx").rows) == 2


def test_a_workbook_of_any_name_is_read_where_it_is_said(read: Reading) -> None:
    with pytest.raises(UsageError, match="is a spreadsheet, not a prompt file; say --form xlsx"):
        read(workbook(ROWS), "p.csv")


@pytest.mark.parametrize("rows", [[], [[]], [["prompt"]]])
def test_an_empty_workbook_has_no_prompts(read: Reading, rows: list[list[Any]]) -> None:
    with pytest.raises(EmptyInput):
        read(workbook(rows), "p.xlsx")


def test_what_is_no_workbook_or_is_damaged_is_told(read: Reading) -> None:
    whole = workbook(ROWS)
    damaged = changed(whole, "xl/workbook.xml", b"<sheets>", b"<sheets")
    for data in (b"prompt\na\n", whole[: len(whole) // 2], damaged):
        with pytest.raises(UsageError, match=r"workbook.*save the table as CSV"):
            read(data, "p.xlsx")


def test_a_workbook_that_expands_without_end_is_refused(read: Reading) -> None:
    strings = b"<x>" + b" " * (65 << 20) + b"</x>"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", strings)
    with pytest.raises(UsageError, match="its texts are over 64 MB"):
        read(file.getvalue(), "p.xlsx")


def test_without_the_package_it_is_named(read: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UsageError, match="pip install openpyxl; or save the table as CSV"):
        read(b"PK\x03\x04", "p.xlsx")
