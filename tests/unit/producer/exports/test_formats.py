"""The forms of exports: that the programs people use read them, and get back what the database holds."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.policy import LABELS
from contract.spec import PromptRow, SamplingSettings
from db.jobs.jobs import cancel_job
from producer.export import export_job
from producer.write import parquet
from producer.write.csv import guard_formula, unguard_formula
from producer.write.openai import logprobs
from producer.write.table import COLUMNS

HOSTILE = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "'=1", "''=1", "'twas", "\nx",
    'say "hi", she said', "one\ntwo\r\nthree\rfour", "\ufffd\ufffd", "👩‍👩‍👧 é é", "שלום \u202egnp.exe",
    "a\u2028b\x85c", " ", "\ufeff=1", "\u200b-1", "\u3000＠x", ";|\t,", "-2.5", '"', '",=1', "−1",
    "\u202a=1", "\u2066=cmd", "\xad=1+1",
]  # fmt: skip


@pytest.fixture
def hostile(mill: Any) -> int:
    rows = [
        PromptRow(position=i, prompt=text, n=1, custom_id=f"{text}#{i}", metadata={text: text})
        for i, text in enumerate(HOSTILE)
    ]
    job: int = mill.submit(rows)
    mill.generate(lambda work, sample: HOSTILE[work.position])
    mill.score()
    return job


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_csv_has_the_same_values_as_json_lines(mill: Any, mixed: int, out: Path) -> None:
    export_job(mill.database, mixed, out / "o.jsonl")
    export_job(mill.database, mixed, out / "o.csv")
    with open(out / "o.csv", encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    exported = lines(out / "o.jsonl")
    assert len(records) == len(exported) == 5
    for record, line in zip(records, exported, strict=True):
        assert tuple(record) == COLUMNS
        for name in ("custom_id", "prompt", "text", "finish_reason", "model", "revision", "dtype", "engine", "isa"):
            assert record[name] == (line[name] or "")
        assert (record["classifier"], record["classifier_revision"]) == ("demo", "c1")
        assert (line["classifier"], line["classifier_revision"]) == ("demo", "c1")
        for name in ("id", "job", "position", "sample_index", "tokens", "seed", "mean_logprob"):
            assert json.loads(record[name]) == line[name]
        for name in ("flag_reasons", "metadata", "settings", "flagged"):
            assert json.loads(record[name] or "null") == line[name]
        scores = {label: record[f"score_{label}"] for label in LABELS if record[f"score_{label}"]}
        assert {label: float(score) for label, score in scores.items()} == line["scores"]
        assert record["review"] == record["logprobs"] == ""
        assert record["redacted"] == "false"


def test_pandas_reads_a_csv_export_with_its_types(mill: Any, hostile: int, out: Path) -> None:
    export_job(mill.database, hostile, out / "o.csv")
    table = pd.read_csv(out / "o.csv", keep_default_na=False, na_values={"mean_logprob": ""})
    assert list(table["text"]) == list(table["prompt"]) == HOSTILE
    assert list(table["custom_id"]) == [f"{text}#{i}" for i, text in enumerate(HOSTILE)]
    assert [json.loads(text) for text in table["metadata"]] == [{text: text} for text in HOSTILE]
    assert table["seed"].dtype == "int64" and table["seed"][0] == 2**53 - 1
    assert table["mean_logprob"].dtype == "float64" and table["mean_logprob"][0] == -2.91
    assert table["flagged"].dtype == bool


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz"])
def test_for_spreadsheets_no_cell_of_a_csv_file_can_be_taken_for_a_formula(
    mill: Any, hostile: int, out: Path, name: str, flat: bool
) -> None:
    export_job(mill.database, hostile, out / name, for_spreadsheets=True, flat=flat)
    data = (out / name).read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    assert data.startswith(codecs.BOM_UTF8 + b"id,job,") and data.count(codecs.BOM_UTF8 + b"id") == 1
    records = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [unguard_formula(record["text"]) for record in records] == HOSTILE
    numbers = {"mean_logprob"}
    for record in records:
        for name in record:
            assert name.lstrip(" \u3000\ufeff\u200b\u2066\u202a\xad")[:1] not in {*"=+-@", "\t", "\r", "\n"}, name
        for name in record.keys() - numbers:
            cell = record[name].lstrip(" \u3000\ufeff\u200b")
            assert cell[:1] not in {*"=+-@＝＋－＠−", "\t", "\r", "\n"}, (name, record[name])
    assert records[0]["mean_logprob"] == "-2.91"


@pytest.mark.parametrize("text", ["plain", "'twas the night", "it's =1", "1+1", "", "{}", "“quoted”", "_=_"])
def test_a_text_that_is_no_formula_is_unchanged(text: str) -> None:
    assert guard_formula(text) == text == unguard_formula(text)


@given(st.text(st.sampled_from("'=+-@\t\r\n a\u3000＝\ufeff")) | st.text())
def test_unguarding_restores_a_guarded_text(text: str) -> None:
    assert unguard_formula(guard_formula(text)) == text


def test_parquet_has_the_same_values_as_json_lines(mill: Any, mixed: int, out: Path) -> None:
    export_job(mill.database, mixed, out / "o.jsonl")
    export_job(mill.database, mixed, out / "o.parquet")
    table = pq.read_table(out / "o.parquet")
    assert table.schema.equals(parquet.schema())
    for row, line in zip(table.to_pylist(), lines(out / "o.jsonl"), strict=True):
        scores = {label: row.pop(f"score_{label}") for label in LABELS}
        assert {label: score for label, score in scores.items() if score is not None} == line.pop("scores")
        assert json.loads(row.pop("metadata") or "null") == line.pop("metadata")
        assert json.loads(row.pop("settings")) == line.pop("settings")
        assert row == line | {
            "messages": None,
            "fitted": None,
            "copied_tokens": None,
            "logprobs": None,
            "redacted": False,
        }


def test_parquet_has_the_same_schema_whatever_the_job_holds(mill: Any, hostile: int, out: Path) -> None:
    export_job(mill.database, hostile, out / "o.parquet")
    bare = mill.submit(["x"], safety="none", settings=SamplingSettings(logprobs=1))
    mill.generate(logprobs=lambda text: [{"token": "a", "logprob": -1.0, "top": {"a": -1.0}}])
    export_job(mill.database, bare, out / "bare.parquet")
    tables = [pq.read_table(out / name) for name in ("o.parquet", "bare.parquet")]
    assert tables[0].schema.equals(tables[1].schema)
    assert tables[0]["text"].to_pylist() == HOSTILE
    assert json.loads(pa.concat_tables(tables)["logprobs"][-1].as_py()) == [
        {"token": "a", "logprob": -1.0, "top": {"a": -1.0}}
    ]


@pytest.mark.parametrize(("rows", "characters"), [(10, 1 << 30), (1 << 30, 10_000)])
def test_parquet_rows_are_written_in_groups(
    mill: Any, out: Path, monkeypatch: pytest.MonkeyPatch, rows: int, characters: int
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", rows)
    monkeypatch.setattr(parquet, "GROUP_CHARACTERS", characters)
    job = mill.submit(["x"] * 95)
    mill.generate(lambda work, sample: "y" * 500)
    export_job(mill.database, job, out / "o.parquet")
    file = pq.ParquetFile(out / "o.parquet")
    assert file.metadata.num_rows == 95
    assert 8 <= file.metadata.num_row_groups <= 12
    assert file.read()["position"].to_pylist() == list(range(95))


def test_pandas_reads_json_lines_and_parquet(mill: Any, hostile: int, out: Path) -> None:
    export_job(mill.database, hostile, out / "o.jsonl.gz")
    export_job(mill.database, hostile, out / "o.parquet")
    exported = pd.read_json(out / "o.jsonl.gz", lines=True, dtype={"custom_id": str})
    assert list(exported["text"]) == HOSTILE
    assert list(pd.read_parquet(out / "o.parquet")["text"]) == HOSTILE
    assert exported["seed"][0] == 2**53 - 1


def test_datasets_loads_json_lines_csv_and_parquet(
    mill: Any, mixed: int, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    for format, builder in (("jsonl", "json"), ("csv", "csv"), ("parquet", "parquet"), ("openai", "json")):
        export_job(mill.database, mixed, out / f"o.{format}", format=format)
        loaded = datasets.load_dataset(
            builder, data_files=str(out / f"o.{format}"), split="train", cache_dir=str(tmp_path / "cache")
        )
        if format == "openai":
            assert [len(row["response"]["body"]["choices"]) for row in loaded] == [2, 2, 1]
        else:
            assert loaded["text"][:] == [" good 0", " bad 0", " good 1", " bad 1", " good 3"]


def test_openai_groups_a_prompts_outputs_as_choices_of_one_response(mill: Any, mixed: int, out: Path) -> None:
    report = export_job(mill.database, mixed, out / "o.jsonl", format="openai")
    first, second, last = lines(out / "o.jsonl")
    assert (report.rows, report.errors, report.format) == (5, 1, "openai")
    assert [first["custom_id"], second["custom_id"], last["custom_id"]] == ["r-1", "1", "3"]
    assert list(first) == ["id", "custom_id", "response", "error"] and first["error"] is None
    body = first["response"].pop("body")
    assert first["response"] == {"status_code": 200, "request_id": f"req_{mixed}-0"}
    with mill.database.read() as connection:
        created = connection.exec_driver_sql("SELECT created_at FROM outputs ORDER BY id").scalar()
    scored_by = {"classifier": "demo", "classifier_revision": "c1"}
    assert body == {
        "id": f"cmpl-{mixed}-0",
        "object": "text_completion",
        "created": int(created),
        "model": "demo",
        "choices": [
            {"index": 0, "text": " good 0", "finish_reason": "length", "logprobs": None} | scored_by,
            {"index": 1, "text": " bad 0", "finish_reason": "stop", "logprobs": None} | scored_by,
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9},
    }
    assert len({line["id"] for line in (first, second, last)}) == 3


def test_openai_puts_every_prompt_in_one_of_its_two_files(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b", "c"], batch_size=1)
    mill.generate(dead={0: "ran out of luck"}, batches=2)
    cancel_job(mill.database, job)
    with mill.database.write() as connection:  # an output of a prompt that died later on stays in SQL
        connection.exec_driver_sql("UPDATE prompts SET status = 'dead', reason = 'late' WHERE position = 1")
    report = export_job(mill.database, job, out / "o.jsonl", format="openai")
    assert (report.rows, report.errors) == (0, 3)
    assert lines(out / "o.jsonl") == []
    errors = [
        {"code": "prompt_dead", "message": "ran out of luck"},
        {"code": "prompt_dead", "message": "late"},
        {"code": "batch_cancelled", "message": "the prompt was cancelled"},
    ]
    assert lines(out / "o.jsonl.errors.jsonl") == [
        {"id": f"batch_req_{job}-{place}", "custom_id": str(place), "response": None, "error": error}
        for place, error in enumerate(errors)
    ]


@pytest.mark.parametrize(
    ("ids", "made_up"),
    [
        (["a", None, "b", None], ["1", "3"]),
        (["3", None, "x", None], ["prompt-1", "prompt-3"]),
        (["1", None, "PROMPT-3", None], ["prompt--1", "prompt--3"]),
        (["1", None, "prompt-3", None], ["prompt--1", "prompt--3"]),
        (["1", None, "prompt--x", None], ["prompt---1", "prompt---3"]),
        (["007", None, "prompt%", None], ["prompt-1", "prompt-3"]),
        ([None, None], ["0", "1"]),
    ],
)
def test_openai_never_makes_up_a_custom_id_that_another_prompt_has(
    any_mill: Any, out: Path, ids: list[str | None], made_up: list[str]
) -> None:
    job = any_mill.submit([PromptRow(position=i, prompt="x", n=1, custom_id=name) for i, name in enumerate(ids)])
    any_mill.generate(dead={1: "x"})
    export_job(any_mill.database, job, out / "o.jsonl", format="openai")
    said = lines(out / "o.jsonl") + lines(out / "o.jsonl.errors.jsonl")
    found = {line["id"].rpartition("-")[2]: line["custom_id"] for line in said}
    assert len(set(found.values())) == len(ids)
    given = [found[str(place)] for place, name in enumerate(ids) if name is None]
    assert given == made_up
    assert [found[str(place)] for place, name in enumerate(ids) if name] == [name for name in ids if name]


def test_openai_marks_a_withheld_text_as_filtered(mill: Any, out: Path) -> None:
    job = mill.submit(["a"], on_flag="redact")
    mill.generate(lambda work, sample: " bad", logprobs=lambda text: [{"token": text, "logprob": -1.0, "top": {}}])
    mill.score()
    export_job(mill.database, job, out / "o.jsonl", format="openai")
    (choice,) = lines(out / "o.jsonl")[0]["response"]["body"]["choices"]
    scored_by = {"classifier": "demo", "classifier_revision": "c1"}
    assert choice == {"index": 0, "text": "", "finish_reason": "content_filter", "logprobs": None} | scored_by


def entry(token: str, logprob: float = -1.0) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "top": {token: logprob, "other": -3.0}}


def test_logprobs_look_as_the_completions_endpoint_returns_them() -> None:
    assert logprobs([entry(" a"), entry("bc", -2.0)], " abc") == {
        "tokens": [" a", "bc"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{" a": -1.0, "other": -3.0}, {"bc": -2.0, "other": -3.0}],
        "text_offset": [0, 2],
    }


def test_text_offsets_count_characters_even_if_a_token_is_part_of_one() -> None:
    pieces = [entry("é"), entry("bytes:\\xf0\\x9f"), entry("bytes:\\x91\\xa9"), entry("x"), entry("<|endoftext|>")]
    assert logprobs(pieces, "é👩x")["text_offset"] == [0, 1, 1, 2, 3]


def test_text_offsets_stay_within_a_text_that_was_cut_at_a_stop_string() -> None:
    assert logprobs([entry("abc"), entry("\n\n"), entry("d")], "abc")["text_offset"] == [0, 3, 3]
