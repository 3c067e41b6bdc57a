"""What form a file has: its name and its contents agree, or an error names the way out."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from contract.errors import UsageError
from tests.unit.producer.conftest import Read
from tests.unit.producer.read.test_tables import parquet

Reading = Callable[..., Read]

LINES = '{"prompt": "The mill"}\n{"prompt": "The sea"}\n'
BATCH = '{"custom_id": "r", "url": "/v1/completions", "body": {"prompt": "The mill"}}\n'
TABLE = "prompt,topic\nThe mill,wheat\n"
TABS = "prompt\ttopic\nThe mill\twheat\n"


@pytest.mark.parametrize("name", ["p", "p.txt", "p.md"])
@pytest.mark.parametrize(
    ("data", "form"),
    [
        ("prompt\nOnce\n", "csv"),
        ('"prompt"\n"Once"\n', "csv"),
        ("Prompt\nOnce\n", "csv"),
        (TABLE, "csv"),
        ("topic, prompt\nwheat, The mill\n", "csv"),
        ("text,label\nThe mill,1\nThe sea,2\n", "csv"),
        ("text;label\nThe mill, and;1\nThe sea;2\n", "csv"),
        ("sep=|\ntext|label\n", "csv"),
        (TABS, "tsv"),
        ("The mill\twheat\nThe sea\tfish\n", "tsv"),
        ("\ufeff" + TABS, "tsv"),
        (TABLE.replace("\n", "\r"), "csv"),
    ],
)
def test_what_looks_like_a_table_is_not_read_as_text(read: Reading, name: str, data: str, form: str) -> None:
    with pytest.raises(UsageError) as error:
        read(data, name)
    assert f"say --form {form} to read it as that, or --form txt if it is plain text" in str(error.value)
    assert read(data, name, form="txt").rows[0].prompt


@pytest.mark.parametrize("data", [LINES, BATCH, json.dumps([{"prompt": "a"}]), '[\n {"prompt": "a"}]', '{"a": 1,\n'])
def test_json_in_a_text_file_is_not_read_as_text(read: Reading, data: str) -> None:
    with pytest.raises(UsageError, match=r"p\.txt: is named \.txt, but it looks like .*; say --form (jsonl|openai) to"):
        read(data, "p.txt")
    assert read(data, "p.txt", form="txt").rows[0].prompt


@pytest.mark.parametrize(
    "data",
    [
        "Once upon a time, there was\nThe weather, this morning\n",
        "Hello, world\nGoodbye, moon\n",
        "[WP] A mill\n[WP] A sea\n",
        "{name} said\n{thing} broke\n",
        "What is a prompt?\nWrite one\n",
        "BZh, they said\n",
        "ORC\nElf\n",
        "One tab\there\nNone here\n",
    ],
)
def test_prose_is_plain_text(read: Reading, data: str) -> None:
    for name in ("p", "p.txt"):
        assert [row.prompt for row in read(data, name).rows] == data.splitlines()


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("p.csv", LINES, "jsonl"), ("p.tsv", LINES, "jsonl"), ("p.csv", BATCH, "openai"), ("p.jsonl", TABLE, "csv"),
        ("p.json", TABS, "tsv"), ("p.parquet", TABLE, "csv"), ("p.parquet", LINES, "jsonl"),
        ("p.csv", parquet({"prompt": ["a"]}), "parquet"), ("p.txt", parquet({"prompt": ["a"]}), "parquet"),
        ("p.jsonl", parquet({"prompt": ["a"]}), "parquet"),
    ],
)  # fmt: skip
def test_a_name_that_its_contents_belie_is_an_error(read: Reading, name: str, data: bytes, form: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: is named .*, but it looks like .*; say --form {form} to read it"):
        read(data, name)
    assert read(data, name, form=form).rows


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("p.jsonl"))
    return sink.getvalue()


def feathered() -> bytes:
    sink = io.BytesIO()
    feather.write_feather(pa.table({"prompt": ["a"]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["p", "p.jsonl", "p.csv", "p.txt"])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (zipped("p.jsonl"), "is a zip archive, not a prompt file; unpack it"),
        (
            zipped("[Content_Types].xml", "xl/workbook.xml"),
            "is a spreadsheet, not a prompt file; say --form xlsx, or save the table as CSV",
        ),
        (tarred(), "is a tar archive"),
        (bz2.compress(LINES.encode()), "is bzip2 data, not a prompt file; decompress it"),
        (lzma.compress(LINES.encode()), "is xz data"),
        (feathered(), "is an Arrow or Feather file, not a prompt file; write it as Parquet"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page, perhaps an error or a sign-in"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel or Word document"),
    ],
)
def test_another_kind_of_file_is_named(read: Reading, name: str, data: bytes, told: str) -> None:
    with pytest.raises(UsageError) as error:
        read(data, name)
    assert f"{name}: {told}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("p.ods", "as CSV in UTF-8"), ("p.tar.gz", "unpack it"), ("p.bz2", "decompress it"), ("p.yaml", "write it as")],
)
def test_an_unsupported_name_is_told_with_what_to_do(read: Reading, name: str, advice: str) -> None:
    with pytest.raises(UsageError, match=rf"files are not supported; .*{advice}"):
        read("a: b\n", name)


def test_tabs_separate_the_cells_of_a_tsv_file(read: Reading) -> None:
    found = read('prompt\ttopic\n"a\tb"\tsea, wide\nc\t\n', "p.tsv")
    assert [(row.prompt, row.metadata) for row in found.rows] == [("a\tb", {"topic": "sea, wide"}), ("c", None)]
    assert found.format == "tsv"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_header_tells_what_separates_the_cells(read: Reading, delimiter: str) -> None:
    found = read(f"topic{delimiter}prompt\nsea{delimiter}The mill, and\n", "p.csv")
    assert [(row.prompt, row.metadata) for row in found.rows] == [("The mill, and", {"topic": "sea"})]
    assert found.notes[0] == f"the cells are separated by {delimiter!r}, as in the header"


def test_a_delimiter_that_is_named_wins(read: Reading) -> None:
    found = read("text:prompt\nThe mill:b,c\n", "p.csv", delimiter=":", metadata_columns=("text",))
    assert [(row.prompt, row.metadata) for row in found.rows] == [("b,c", {"text": "The mill"})]
    with pytest.raises(UsageError, match=r"--delimiter: p\.jsonl is read as jsonl, which has none"):
        read(LINES, delimiter=";")


def test_an_array_of_objects_is_read_element_by_element(read: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": 'A "bracket ] and , \\ more', "stop": ["]", "\\"]}, {"prompt": "", "metadata": {"a": [{}]}}]
    for indent in (None, 2):
        data = "\ufeff" + json.dumps(rows, indent=indent)
        for size in (1 << 20, 5, 3):
            monkeypatch.setattr("producer.read.lines.BLOCK_BYTES", size)
            found = read(data, "p.json")
            assert [row.prompt for row in found.rows] == [row["prompt"] for row in rows]
            assert found.rows[1].metadata == {"a": [{}]} and found.format == "jsonl"


@pytest.mark.parametrize("data", ['[\n  "a prompt",\n  "b"\n]\n', '["a prompt","b"]\n'])
def test_an_array_of_texts_is_not_read_as_lines(read: Reading, data: str) -> None:
    found = read(data, "-")
    assert not found.rows and found.bad, found.told


def test_a_bad_element_of_an_array_is_told_with_its_line(read: Reading) -> None:
    found = read('[\n  {"prompt": "a"},\n\n  {\n    "prompt": 5\n  },\n  "b"\n]\n', "p.json")
    assert found.told == (
        'line 4: prompt: must be text, not a number\nline 7: must be a JSON object such as {"prompt": "Once"}, not text'
    )
    assert found.raw[0] == b'{     "prompt": 5   }'
    assert [row.prompt for row in found.rows] == ["a"]


@pytest.mark.parametrize(
    ("tail", "told"),
    [("", "is a JSON array that is never closed"), ("] x", "goes on after its JSON array"), ("][]", "goes on after")],
)
def test_an_array_that_is_cut_or_goes_on_is_an_error(read: Reading, tail: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read('[{"prompt": "a"}, {"prompt": "b"}' + tail, "p.json")


def test_an_array_of_requests_is_an_openai_batch(read: Reading) -> None:
    found = read(f"[{BATCH.strip()}]", "p.json")
    assert (found.format, [row.prompt for row in found.rows]) == ("openai", ["The mill"])
