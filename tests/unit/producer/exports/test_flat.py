"""Flat exports: each key of the metadata is a column, whatever the keys are called and whatever they hold."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract.errors import UsageError
from contract.spec import PromptRow
from producer.export import export_job
from producer.write.metadata_columns import MetadataColumn, metadata_columns
from producer.write.table import COLUMNS


def job_of(mill: Any, *metadata: dict[str, Any] | None, n: int = 1, dead: tuple[int, ...] = ()) -> int:
    rows = [PromptRow(position=i, prompt=f"p {i}", n=n, metadata=one) for i, one in enumerate(metadata)]
    job: int = mill.submit(rows)
    mill.generate(dead=dict.fromkeys(dead, "x"))
    mill.score()
    return job


def flat_table(mill: Any, job: int, out: Path) -> Any:
    export_job(mill.database, job, out / "o.parquet", flat=True)
    return pq.read_table(out / "o.parquet")


def flat_records(mill: Any, job: int, out: Path) -> list[dict[str, str]]:
    export_job(mill.database, job, out / "o.csv", flat=True)
    with open(out / "o.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def columns_of(*metadata: dict[str, Any]) -> dict[str, str]:
    return {column.key: column.type for column in metadata_columns(metadata, COLUMNS)}


def test_each_key_of_the_metadata_is_a_column_in_the_place_of_metadata(any_mill: Any, out: Path) -> None:
    job = job_of(any_mill, {"topic": "sea", "year": 1851}, None, {"year": 1902, "deep": {"a": [1, None]}}, n=2)
    table = flat_table(any_mill, job, out)
    place = COLUMNS.index("metadata")
    names = [*COLUMNS[:place], "topic", "year", "deep", *COLUMNS[place + 1 :]]
    assert table.column_names == names
    assert table["topic"].to_pylist() == ["sea", "sea", None, None, None, None]
    assert table["year"].to_pylist() == [1851, 1851, None, None, 1902, 1902]
    assert table["deep"].to_pylist() == [None] * 4 + ['{"a":[1,null]}'] * 2
    assert str(table.schema.field("year").type) == "int64"
    records = flat_records(any_mill, job, out)
    assert list(records[0]) == names
    assert [record["topic"] for record in records] == ["sea", "sea", "", "", "", ""]
    assert [record["deep"] for record in records] == [""] * 4 + ['{"a":[1,null]}'] * 2


def test_a_key_named_like_a_column_of_every_export_gets_a_prefix(mill: Any, out: Path) -> None:
    keys = ["text", "ID", "score_toxicity", "metadata", "metadata_text", "metadata_metadata_text", "Topic", "topic", ""]
    job = job_of(mill, {key: f"the {key}" for key in keys})
    (row,) = flat_table(mill, job, out).to_pylist()
    assert (row["text"], row["id"], row["position"]) == (" text 0.0", 1, 0)
    expected = {
        "metadata_metadata_metadata_text": "text", "metadata_ID": "ID", "metadata_score_toxicity": "score_toxicity",
        "metadata_metadata": "metadata", "metadata_text": "metadata_text", "Topic": "Topic", "metadata_topic": "topic",
        "metadata_metadata_text": "metadata_metadata_text", "metadata_": "",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == {name: f"the {key}" for name, key in expected.items()}
    names = [name.casefold() for name in row]
    assert len(names) == len(set(names)) == len(COLUMNS) - 1 + len(keys)
    assert {name: flat_records(mill, job, out)[0][name] for name in expected} == {name: row[name] for name in expected}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2**53, -(2**53), None], "int64"), ([1, 2**63 - 1], "string"), ([True, False], "bool"),
        ([1.5, 2], "float64"),
        ([1, "1"], "string"), ([True, 1], "string"), ([0.5, 2**53 + 1], "string"), ([2**63], "string"),
        ([{}, []], "string"), ([None, None], "string"), (["a", None], "string"), ([{"a": 1}, 2], "string"),
    ],
)  # fmt: skip
def test_a_column_has_the_type_that_holds_every_value_exactly_or_else_is_text(
    mill: Any, out: Path, values: list[Any], kind: str
) -> None:
    assert columns_of(*({"k": value} for value in values)) == {"k": kind}
    job = job_of(mill, *({"k": value} for value in values))
    stored = flat_table(mill, job, out)["k"].to_pylist()
    if kind == "string":
        as_text = [one if one is None or isinstance(one, str) else json.dumps(one).replace(" ", "") for one in values]
        assert stored == as_text
    else:
        assert stored == values
    cells = [record["k"] for record in flat_records(mill, job, out)]
    assert [json.loads(cell) if cell and kind != "string" else cell or None for cell in cells] == stored


def test_the_columns_are_the_same_whichever_outputs_are_exported(mill: Any, out: Path) -> None:
    job = job_of(mill, {"a": 1}, {"b": "x"}, {"c": True}, dead=(2,))
    whole = flat_table(mill, job, out).column_names
    export_job(mill.database, job, out / "clean.parquet", flat=True, only=["flagged"], allow_empty=True)
    assert pq.read_table(out / "clean.parquet").column_names == whole
    assert {"a", "b", "c"} <= set(whole)


def test_a_job_without_metadata_has_no_columns_of_it(mill: Any, out: Path) -> None:
    job = job_of(mill, None, {})
    assert flat_table(mill, job, out).column_names == [name for name in COLUMNS if name != "metadata"]
    assert "metadata" not in flat_records(mill, job, out)[0]


@pytest.mark.parametrize("metadata", [[{f"k{i}": 1} for i in range(1001)], [{"k" * (1 << 20): 1, "j": 1}]])
def test_more_columns_than_a_table_bears_are_refused(mill: Any, metadata: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match=r"--flat: metadata has more than 1,000 different keys.*leave out --flat"):
        metadata_columns(metadata, COLUMNS)


def test_finding_the_columns_takes_no_memory_for_each_prompt() -> None:
    metadata = ({f"k{i % 10}": "x" * 1000, "number": i} for i in range(20_000))
    tracemalloc.start()
    found = metadata_columns(metadata, COLUMNS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 11 and found[1] == MetadataColumn(name="number", key="number", type="int64")
    assert peak < 1 << 20
