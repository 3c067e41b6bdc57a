"""CSV and Parquet: columns, cells, and the tables that are not what they seem."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import UsageError
from tests.unit.producer.conftest import Read

Reading = Callable[..., Read]


def parquet(columns: dict[str, Any], **how: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **how)
    return sink.getvalue()


def test_other_columns_become_metadata_with_a_note_that_names_them(read: Reading) -> None:
    for found in (
        read("prompt,topic,author\na,sea,\nb,,Mill\n", "p.csv"),
        read(parquet({"prompt": ["a", "b"], "topic": ["sea", None], "author": [None, "Mill"]}), "p.parquet"),
    ):
        assert found.notes == ["columns kept as metadata: topic, author"]
        assert [row.metadata for row in found.rows] == [{"topic": "sea"}, {"author": "Mill"}]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("prompt,temprature", "column 'temprature' looks like 'temperature'; rename it to that, or keep it as data"),
        ("prompt,Top_K", "column 'Top_K' looks like 'top_k'"),
        ("prompt,custom id", "column 'custom id' looks like 'custom_id'"),
        ("prompt,max_length", "column 'max_length' is not used here because it would count the prompt"),
        ("promt,topic", "column 'promt' looks like 'prompt'; rename it to that, say --prompt-column 'promt', or keep"),
        ("prompt,topic,topic", "column 'topic' appears 2 times; rename all but one"),
        ("text,topic", "no column is named 'prompt'; rename the one with the prompts, or name it with --prompt-column"),
        ("text;topic", "the header is one column, 'text;topic'; name what separates the columns, for example with"),
        ("text\ttopic", "with --delimiter tab"),
        ("seed", "no column is named 'prompt'"),
        ("custom_id", "no column is named 'prompt'"),
        ("prompt," + ",".join(map(str, range(2000))), "has 2,001 columns, but at most 1,000 are read"),
    ],
)
def test_an_invalid_header_is_an_error(read: Reading, header: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        read(header + "\na,b\n", "p.csv")
    assert "p.csv: " in str(error.value) and told in str(error.value)


def test_near_miss_columns_of_parquet_are_errors_too(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"p\.parquet: column 'seeds' looks like 'seed'"):
        read(parquet({"prompt": ["a"], "seeds": [1]}), "p.parquet")


def test_a_single_column_is_the_prompt_whatever_its_name(read: Reading) -> None:
    found = read('text\nOnce\n"a,b"\n', "p.csv")
    assert [row.prompt for row in found.rows] == ["Once", "a,b"]
    assert found.notes == ["the only column, 'text', is read as the prompt, and the first line as its name"]
    assert read(parquet({"text": ["x"]}), "p.parquet").rows[0].prompt == "x"


def test_empty_cells_are_absent_and_an_empty_prompt_has_to_be_asked_for(read: Reading) -> None:
    table = 'prompt,custom_id,n,metadata,topic\n"",,,,\n'
    (row,) = read(table, "p.csv", empty_prompts=True).rows
    assert (row.prompt, row.custom_id, row.settings, row.metadata) == ("", None, None, None)
    told = "prompt: is empty; remove the row, or take empty cells for empty prompts with --empty-prompts"
    assert read(table, "p.csv").told == f"line 2: {told}"
    for prompts in ([None, "x"], ["", "x"]):
        columns = parquet({"prompt": prompts})
        assert read(columns, "p.parquet").told == f"line 1: {told}"
        assert [row.prompt for row in read(columns, "p.parquet", empty_prompts=True).rows] == ["", "x"]


def test_a_null_in_json_lines_is_an_empty_prompt_only_where_that_is_asked_for(read: Reading) -> None:
    assert read('{"prompt": null}').told == "line 1: prompt: must be text, not null"
    assert [row.prompt for row in read('{"prompt": null}', empty_prompts=True).rows] == [""]
    with pytest.raises(UsageError, match=r"--empty-prompts: p\.txt is plain text, whose blank lines are skipped"):
        read("a\n\nb", "p.txt", empty_prompts=True)


def test_a_csv_record_is_numbered_by_the_line_where_it_starts(read: Reading) -> None:
    found = read('prompt,n\r\n"one\r\ntwo",1\r\n\r\n"three\nfour",x\r\nfive,0\r\n', "p.csv")
    assert [row.prompt for row in found.rows] == ["one\r\ntwo"]
    assert [(line.number, line.problem.field) for line in found.bad] == [(5, "n"), (7, "n")]
    assert found.raw[0] == b'"three\nfour",x\r'


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (b"a,1,2", "has 3 cells, but the header has 2 columns; quote cells that contain commas"),
        (b"a", "has 1 cell, but the header has 2 columns"),
        (b'"a"b,1', 'continues after a closing quote; write a quote inside a cell as ""'),
        (b"a\rb,1", "has a lone carriage return"),
        (b"caf\xe9,1", "is not UTF-8 (byte 0xE9 at column 4)"),
        (b'"x\ncaf\xe9",1', "is not UTF-8"),
        (b"a\0,1", "has NUL bytes"),
        (b"a,hot", "n: must be a whole number, not 'hot'"),
        (b"a," + b'"' + b"[" * 999 + b"]" * 999 + b'"', "n: is nested too deep"),
    ],
)
def test_a_bad_csv_record_is_reported_and_the_next_one_is_read(read: Reading, record: bytes, told: str) -> None:
    found = read(b"prompt,n\n" + record + b"\ngood,2\n", "p.csv")
    assert found.told.startswith("line 2: " + told), found.told
    assert [(row.prompt, row.n) for row in found.rows] == [("good", 2)]
    assert found.raw == [record]


def test_an_unclosed_quote_is_reported_with_the_line_that_opens_it(read: Reading) -> None:
    found = read('prompt,n\ngood,1\n"open,1\nlost,1\n', "p.csv")
    assert found.told.startswith("line 3: opens a quote that is never closed")
    assert found.raw == [b'"open,1\nlost,1']
    with pytest.raises(UsageError, match=r"p\.csv: line 2: the record that starts here is over 1 MB; close a quote"):
        read('prompt,n\n"open,1\n' + "lost,1\n" * 200_000, "p.csv")


def test_a_broken_quote_that_may_continue_on_the_next_line_refuses_the_file(read: Reading) -> None:
    for tail in ('there" and left",1', 'there\nand left",1', 'there\nand\nleft",1\n"good",2'):
        with pytest.raises(
            UsageError, match=r"p\.csv: line 3: continues after a closing quote, so it is unclear where"
        ):
            read(f'prompt,n\ngood,1\n"He said "hi\n{tail}\n', "p.csv")
    for good in ("good,2", '"good",2', 'good,"2"'):
        found = read(f'prompt,n\n"He said "hi" there",1\n{good}\n', "p.csv")
        assert [row.prompt for row in found.rows] == ["good"] and found.told.startswith("line 2: continues after")
    assert len(read("prompt,n\n" + '"a"b,1\ngood,1\n' * 20_000, "p.csv").rows) == 20_000
    assert read('prompt,n\ngood,1\n"He said "hi\n', "p.csv").told.startswith("line 3: continues after")


@pytest.mark.parametrize("line", [",,", " , ,\t", ",,\r"])
def test_a_row_of_nothing_but_commas_is_a_bad_line_not_an_empty_prompt(read: Reading, line: str) -> None:
    found = read(f'prompt,n,topic\ngood,1,\n{line}\n"",,\n', "p.csv", empty_prompts=True)
    assert found.told == 'line 3: has nothing but delimiters; remove it, or write "" and take it with --empty-prompts'
    assert [row.prompt for row in found.rows] == ["good", ""]


def test_a_row_of_nothing_but_tabs_is_a_bad_line_too(read: Reading) -> None:
    found = read("prompt\ttopic\na\tb\n\t\n", "p.tsv", empty_prompts=True)
    assert [row.prompt for row in found.rows] == ["a"] and found.told.startswith("line 3: has nothing but delimiters")


def test_a_quoted_cell_may_hold_quotes_and_commas_as_a_csv_writer_puts_them(read: Reading) -> None:
    found = read('prompt,topic\n"""Hello,"" she said, ""come in.""",x\n', "p.csv")
    assert [row.prompt for row in found.rows] == ['"Hello," she said, "come in."']


def test_an_infinity_in_parquet_is_a_bad_line_not_an_absent_value(read: Reading) -> None:
    infinite = float("inf")
    columns = {"prompt": ["a", "b", "c", "d"], "temperature": [infinite, None, 0.5, float("nan")]}
    found = read(parquet(columns | {"many": [[], [-infinite], [1.0], []]}), "p.parquet")
    assert [row.prompt for row in found.rows] == ["c", "d"]
    assert found.told.startswith("line 1: temperature: is infinite, which JSON cannot express; leave it empty")
    assert "line 2: many: is infinite" in found.told


def test_a_long_cell_is_read(read: Reading) -> None:
    assert len(read('prompt\n"' + "x" * 500_000 + '"\n', "p.csv").rows[0].prompt) == 500_000


def test_a_csv_header_that_is_not_utf_8_is_an_error(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"p\.csv: the header is not UTF-8 \(byte 0xE9"):
        read(b"prompt,caf\xe9\na,b\n", "p.csv")


def test_a_metadata_column_holds_json_objects_beside_the_other_columns(read: Reading) -> None:
    found = read('prompt,metadata,topic\na,"{""x"": [1]}",sea\nb,oops,\nc,[1],\nd,"{""topic"": 1}",sea\n', "p.csv")
    assert found.rows[0].metadata == {"x": [1], "topic": "sea"}
    assert "line 3: metadata: must be a JSON object, for example" in found.told
    assert "line 4: metadata: must be a JSON object, not a list" in found.told
    assert "line 5: metadata: has 'topic', which is also a column" in found.told


def test_a_setting_in_two_columns_is_reported(read: Reading) -> None:
    found = read("prompt,max_tokens,length\na,5,\nb,,6\nc,5,6\n", "p.csv")
    assert [row.settings for row in found.rows] == [{"max_new_tokens": 5}, {"max_new_tokens": 6}]
    assert found.told == "line 4: length: sets max_new_tokens a second time"


def test_parquet_metadata_is_json(read: Reading) -> None:
    noon = dt.datetime(2026, 1, 2, 12, 0, 0, 5)
    columns = {
        "prompt": ["a"],
        "at": [noon],
        "zoned": pa.array([noon], pa.timestamp("us", "UTC")),
        "nano": pa.array([1_234_567_891], pa.timestamp("ns")),
        "day": [dt.date(2026, 1, 2)],
        "price": [Decimal("1.50")],
        "took": [dt.timedelta(seconds=90)],
        "many": [[1.5, float("nan")]],
        "deep": [{"a": [{"b": None}]}],
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "kind": pa.array(["x"]).dictionary_encode(),
    }
    (row,) = read(parquet(columns), "p.parquet").rows
    assert row.metadata == {
        "at": "2026-01-02T12:00:00.000005",
        "zoned": "2026-01-02T12:00:00.000005+00:00",
        "nano": "1970-01-01T00:00:01.234567",
        "day": "2026-01-02",
        "price": "1.50",
        "took": "0:01:30",
        "many": [1.5, None],
        "deep": {"a": [{"b": None}]},
        "map": {"k": 1},
        "kind": "x",
    }


def test_bad_parquet_rows_are_counted_from_one_across_batches(read: Reading) -> None:
    prompts: list[str | None] = [f"p{number}" for number in range(1000)]
    prompts[699] = None
    prompts[999] = "a\0"
    ids = [*range(998), 5, 999]
    found = read(parquet({"prompt": prompts, "custom_id": ids}, row_group_size=400), "p.parquet")
    assert (len(found.rows), found.rows[-1].position) == (997, 996)
    assert [line.number for line in found.bad] == [700, 999, 1000]
    assert found.bad[1].problem.message == "'5' is already on line 6; give each prompt its own"
    assert "custom_id" in found.raw[0].decode()


def test_a_parquet_value_that_json_cannot_express_is_a_bad_row(read: Reading) -> None:
    binary = read(parquet({"prompt": ["a", "b"], "blob": [b"\xff", None]}), "p.parquet")
    assert (
        binary.told
        == "line 1: blob: contains bytes that JSON cannot express; write the column as text, or leave it out"
    )
    assert len(binary.rows) == 1
    far = pa.array([0, 2**50], pa.timestamp("s"))
    assert read(parquet({"prompt": ["a", "b"], "at": far}), "p.parquet").told.startswith("line 2: at: has a value that")
    not_text = pa.array([b"ok", b"\xff"]).cast(pa.binary()).view(pa.binary())
    wrong = pa.Array.from_buffers(pa.string(), 2, not_text.buffers())
    assert read(parquet({"prompt": wrong}), "p.parquet").told.startswith(
        "line 2: prompt: has a value that cannot be read"
    )


def test_a_parquet_prompt_that_is_not_text_is_reported(read: Reading) -> None:
    assert "line 1: prompt: must be text, not a number" in read(parquet({"prompt": [5]}), "p.parquet").told
    big = read(parquet({"prompt": ["x" * (1 << 20), "b"]}), "p.parquet")
    assert "line 1: is over 1 MB" in big.told and len(big.rows) == 1


def test_a_damaged_or_pretended_parquet_file_is_an_error(read: Reading) -> None:
    good = parquet({"prompt": [f"p {number}" for number in range(5000)]})
    middle = bytearray(good)
    middle[100:2000] = b"\xff" * 1900
    for data in (b"prompts that\nnobody wrote\n", good[:-100], b"PAR1", bytes(middle)):
        with pytest.raises(UsageError, match=r"p\.parquet: is not a Parquet file, or is damaged \("):
            read(data, "p.parquet")


@pytest.mark.parametrize("name", ["customer_id", "prompt_id", "speed", "tokens", "no", "top", "system_prompt", "id"])
def test_a_column_that_merely_resembles_a_setting_is_metadata(read: Reading, name: str) -> None:
    found = read(f"prompt,{name}\na,x\n", "p.csv")
    assert (found.rows[0].metadata, found.notes) == ({name: "x"}, [f"columns kept as metadata: {name}"])


def test_columns_read_as_settings_are_named_and_can_be_kept_as_data(read: Reading) -> None:
    for make in (lambda: ("prompt,length,n\na,5,2\n", "p.csv"),
                 lambda: (parquet({"prompt": ["a"], "length": [5], "n": [2]}), "p.parquet")):  # fmt: skip
        found = read(*make())
        assert found.rows[0].settings == {"max_new_tokens": 5, "n": 2}
        assert found.notes == ["columns read as settings: length, n; --metadata-column NAME keeps one as data"]
        found = read(*make(), metadata_columns=("length",))
        assert found.rows[0].settings == {"n": 2} and str(found.rows[0].metadata["length"]) == "5"


@pytest.mark.parametrize("name", ["promt", "max_length", "temprature", "metadata"])
def test_any_column_can_be_kept_as_data(read: Reading, name: str) -> None:
    assert read(f"prompt,{name}\na,x\n", "p.csv", metadata_columns=(name,)).rows[0].metadata == {name: "x"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("text,ref,prompt,custom_id\nOnce,r-1,old,7\n", "p.csv"),
        (parquet({"text": ["Once"], "ref": ["r-1"], "prompt": ["old"], "custom_id": ["7"]}), "p.parquet"),
        ('{"text": "Once", "ref": "r-1", "prompt": "old", "custom_id": "7"}\n', "p.jsonl"),
    ],
)
def test_the_columns_of_prompts_and_ids_can_be_named(read: Reading, data: Any, name: str) -> None:
    (row,) = read(data, name, prompt_column="text", id_column="ref").rows
    assert (row.prompt, row.custom_id, row.metadata) == ("Once", "r-1", {"prompt": "old", "custom_id": "7"})


def test_a_column_that_is_named_but_missing_is_an_error(read: Reading) -> None:
    for option, asked in (("--prompt-column", "prompt_column"), ("--id-column", "id_column")):
        with pytest.raises(
            UsageError, match=rf"no column is named 'ref', which {option} names\. Columns: prompt, topic"
        ):
            read("prompt,topic\na,b\n", "p.csv", **{asked: "ref"})
    with pytest.raises(UsageError, match="no column is named 'x', which --metadata-column names"):
        read("prompt,topic\na,b\n", "p.csv", metadata_columns=("x",))
    with pytest.raises(UsageError, match=r"p\.txt is read as txt, which has no columns"):
        read("a\n", "p.txt", prompt_column="text")
    with pytest.raises(UsageError, match="both name 'x'; name two columns"):
        read("x\na\n", "p.csv", prompt_column="x", id_column="x")
