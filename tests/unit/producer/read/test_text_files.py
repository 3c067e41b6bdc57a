"""Text files as people make them: joined, exported by spreadsheets, written on other systems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import UsageError
from inkmill.cli import run
from tests.unit.producer.conftest import Read

Reading = Callable[..., Read]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", "The mill\rThe sea\r"),
        ("p.txt", "The mill\r\rThe sea"),
        ("p.csv", 'prompt,topic\r"The mill",wheat\rThe sea,fish\r'),
        ("p.jsonl", '{"prompt": "The mill"}\r{"prompt": "The sea"}\r'),
        ("p", '{"prompt": "The mill"}\r{"prompt": "The sea"}'),
    ],
)
def test_lines_may_end_in_carriage_returns_alone(read: Reading, name: str, data: str) -> None:
    found = read(data, name)
    assert ([row.prompt for row in found.rows], found.bad) == (["The mill", "The sea"], [])


def test_a_lone_carriage_return_among_other_line_ends_is_a_bad_line(read: Reading) -> None:
    found = read("The mill\rThe sea\nThe tide\r\r\n", "p.txt")
    assert found.told.startswith("line 1: has a line end of another kind inside; end every line with LF or CRLF")
    assert [row.prompt for row in found.rows] == ["The tide"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", "The mill\n\ufeffThe sea\n"),
        ("p.jsonl", '{"prompt": "The mill"}\n\ufeff{"prompt": "The sea"}\n'),
        ("p.csv", 'prompt,topic\nThe mill,\n\ufeff"The sea",x\n'),
    ],
)
def test_a_byte_order_mark_before_a_line_is_left_out(read: Reading, name: str, data: str) -> None:
    found = read(data, name)
    assert ([row.prompt for row in found.rows], found.bad) == (["The mill", "The sea"], [])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", "The tide\nThe mill\ufeffThe sea\n"),
        ("p.jsonl", '{"prompt": "The tide"}\n{"prompt": "a"}\ufeff{"prompt": "b"}\n'),
        ("p.csv", "prompt,topic\nThe tide,\nThe mill,a\ufeffprompt,topic\nThe mill,a\ufeffb\n"),
    ],
)
def test_a_byte_order_mark_inside_a_line_is_told(read: Reading, name: str, data: str) -> None:
    found = read(data, name)
    assert "has a byte order mark (U+FEFF) inside, as where files were joined; break the line there" in found.told
    assert [row.prompt for row in found.rows] == ["The tide"]


def test_a_byte_order_mark_in_a_json_text_is_text(read: Reading) -> None:
    assert read('{"prompt": "a\ufeffb"}').rows[0].prompt == "a\ufeffb"


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;\r"])
def test_a_line_above_the_header_may_name_the_delimiter(read: Reading, line: str) -> None:
    found = read(f'{line}\nprompt;topic\n"The mill; and";a,b\nThe sea;x;y\n', "p.csv")
    assert [(row.prompt, row.metadata) for row in found.rows] == [("The mill; and", {"topic": "a,b"})]
    assert found.told.startswith("line 4: has 3 cells") or "line 3" in found.told


@pytest.mark.parametrize("line", ['sep=""', "sep= ", "sep=n", "sep=", "sep=\xa7"])
def test_a_line_that_names_no_delimiter_is_a_header(read: Reading, line: str) -> None:
    assert [row.prompt for row in read(f"{line}\nThe mill\n", "p.csv").rows] == ["The mill"]


@pytest.mark.parametrize("cell", [' "The mill"', '  "The mill, and the sea"'])
def test_a_blank_before_a_quote_is_told(read: Reading, cell: str) -> None:
    found = read(f"custom_id,prompt\n1,{cell}\n2,The sea\n", "p.csv")
    assert found.bad[0].number == 2 and [row.prompt for row in found.rows] == ["The sea"]
    assert "a blank before a quote" in found.told


def test_a_quoted_text_may_begin_with_a_blank_and_a_quote(read: Reading) -> None:
    (row,) = read('custom_id,prompt\n1," ""Once"" he said"\n', "p.csv").rows
    assert row.prompt == ' "Once" he said'


def test_blanks_after_the_delimiters_of_the_header_belong_to_no_cell(read: Reading) -> None:
    found = read('prompt, custom_id, "topic"\nThe mill, a-1, "sea, wide"\n', "p.csv")
    assert [(row.prompt, row.custom_id, row.metadata) for row in found.rows] == [
        ("The mill", "a-1", {"topic": "sea, wide"})
    ]
    assert found.notes[0].startswith("blanks after the delimiters are left out")
    assert read("prompt,topic\n The mill, sea\n", "p.csv").rows[0].prompt == " The mill"


@pytest.mark.parametrize("header", ["prompt,topic", "text"])
def test_a_header_in_the_middle_is_told(read: Reading, header: str) -> None:
    row = "The mill,a" if "," in header else "The mill"
    found = read(f"{header}\n{row}\n\ufeff{header}\n{row}\n", "p.csv")
    assert found.told == "line 3: repeats the header, as where files were joined; remove it"
    assert len(found.rows) == 2


def test_a_table_without_a_header_is_told(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"has no header, as its first line is 'The mill by the sea'.*--form txt"):
        read("The mill by the sea\nThe tide\n", "p.csv")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"\x93Stop\x94", "WINDOWS-1252"), (b"caf\xe9", "WINDOWS-1252"), (b"\x82\xa0\x81\x40", "ENCODING")],
)
def test_the_advice_for_other_encodings_makes_no_control_characters(read: Reading, data: bytes, encoding: str) -> None:
    assert f"'iconv -f {encoding} -t UTF-8'" in read(data + b"\n", "p.txt").told


@pytest.mark.parametrize("value", ["NaN", "None", "#N/A", " null ", "<NA>", "#DIV/0!", "NaT"])
def test_what_programs_write_for_a_missing_value_is_no_prompt_and_no_id(read: Reading, value: str) -> None:
    found = read(f"prompt,custom_id,topic\n{value},1,{value}\nOnce,{value},\nNone of them,3,{value}\n", "p.csv")
    told = f"is {value.strip()!r}, which programs write for a missing value"
    assert f"line 2: prompt: {told}" in found.told and f"line 3: custom_id: {told}" in found.told
    assert [(row.prompt, row.metadata) for row in found.rows] == [("None of them", {"topic": value})]


def test_prompts_that_end_in_a_space_are_remarked_on_once(read: Reading) -> None:
    found = read("The mill\nThe sea \nThe tide \n", "p.txt")
    (remark,) = found.remarks
    assert remark.startswith("2 prompts end in a space (line 2 first): ")
    assert read("The mill\n", "p.txt").remarks == []


def test_submit_reads_a_file_as_it_is_told_and_remarks_on_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    (tmp_path / "p.dat").write_text("text;ref;n;note\nThe mill ;7;2;\n;8;;\nThe sea ;9;;x\n")
    submit = ["submit", str(tmp_path / "p.dat"), "--model", "demo", "--safety", "none"]
    columns = ["--prompt-column", "text", "--id-column", "ref", "--metadata-column", "n"]
    options = ["--form", "csv", "--delimiter", ";", *columns, "--empty-prompts"]
    assert run(submit) == 2
    assert (
        "p.dat: would be read as plain text, each line a prompt, but it looks like a table" in capsys.readouterr().err
    )
    assert run([*submit, *options]) == 0
    told = capsys.readouterr().err
    assert "note: columns kept as metadata: n, note\n" in told and "3 prompts of p.dat, 3 outputs" in told
    assert told.count("2 prompts end in a space (line 2 first)") == 1
    assert run([*submit, *options]) == 2  # the same again
    assert run([*submit, *options[:-1], "--skip-bad"]) == 0  # read differently


def test_a_file_that_changes_its_line_ends_is_told(read: Reading) -> None:
    found = read("aaaaaaa\r" * 150_000 + "x\ny\n", "p.txt")
    assert "has a line end of another kind inside" in found.told and len(found.rows) == 150_000


def test_a_field_that_is_kept_as_data_is_no_foreign_setting(read: Reading) -> None:
    found = read('{"prompt": "a", "priority": 3, "request_id": "r1"}\n', "p.jsonl", metadata_columns=("priority",),
                 id_column="request_id")  # fmt: skip
    assert [(row.custom_id, row.metadata) for row in found.rows] == [("r1", {"priority": 3})], found.told
