"""Exports: which outputs are in them, what a line says, and where dead prompts go."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import event, update
from sqlalchemy import text as sql

from contract.errors import UsageError
from contract.policy import LABELS
from contract.spec import PromptRow, SamplingSettings
from db.jobs.jobs import cancel_job
from db.jobs.retry import retry_job
from db.models import Output
from db.results import export_rows
from producer.export import ExportReport, export_job, parse_only

FIELDS = ["id", "job", "custom_id", "position", "sample_index", "prompt", "text", "finish_reason", "tokens", "seed",
          "mean_logprob", "scores", "classifier", "classifier_revision", "score_by", "deciding_sentences", "flagged",
          "flag_reasons", "review", "metadata", "model", "revision", "dtype", "device", "torch", "engine", "settings",
          "isa", "threads", "processor", "numerics"]  # fmt: skip
HOSTILE = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "'=1", "''=1", "'twas", "\n",
    'say "hi", she said', "one\ntwo\r\nthree\rfour", "\ufffd\ufffd", "👩‍👩‍👧 é é", "שלום \u202egnp.exe",
    "a\u2028b\x85c\x0bd", "", " ", "null", "NaN", "\ufeff=1", "\x1f\x7f", ";|\t,", "</script>", "\\u0000 \\n", "-2.5",
]  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_every_line_agrees_with_its_rows_in_the_database(mill: Any, mixed: int, out: Path) -> None:
    report = export_job(mill.database, mixed, out / "o.jsonl")
    query = (
        "SELECT o.*, p.position, p.custom_id, p.prompt, p.metadata, v.model, v.revision, v.dtype, v.device, v.torch,"
        " v.engine, v.isa, v.threads, v.processor, v.numerics, s.toxicity, s.insult, s.classifier,"
        " s.classifier_revision, s.score_by, s.deciding AS deciding_sentences"
        " FROM outputs o JOIN prompts p ON p.id = o.prompt_id"
        " JOIN provenances v ON v.id = o.provenance_id LEFT JOIN scores s ON s.output_id = o.id"
        " ORDER BY p.position, o.sample_index"
    )
    with mill.database.read() as connection:
        rows = connection.execute(sql(query)).all()
    exported = lines(out / "o.jsonl")
    assert report == ExportReport(
        path=out / "o.jsonl", errors_path=out / "o.jsonl.errors.jsonl", rows=5, errors=1, format="jsonl",
        job=report.job,
    )  # fmt: skip
    assert len(exported) == len(rows) == 5
    for line, row in zip(exported, rows, strict=True):
        assert list(line) == FIELDS
        for name in set(FIELDS) - {"job", "scores", "flagged", "flag_reasons", "review", "metadata", "settings"}:
            assert line[name] == getattr(row, name), name
        assert line["job"] == mixed and line["review"] is None
        assert line["flagged"] is bool(row.flagged)
        assert line["scores"] == {"toxicity": row.toxicity, "insult": row.insult}
        assert line["flag_reasons"] == json.loads(row.flag_reasons or "null")
        assert line["metadata"] == json.loads(row.metadata or "null")


def test_both_databases_export_the_same_bytes(mill: Any, mixed: int, postgres_mill: Any, out: Path) -> None:
    for only in (["all"], ["clean"], ["flagged"]):
        export_job(mill.database, mixed, out / "sqlite", only=only)
        export_job(postgres_mill.database, postgres_mill.mixed() if only == ["all"] else 1, out / "postgres", only=only)
        for ending in ("", ".errors.jsonl"):
            assert (out / f"postgres{ending}").read_bytes() == (out / f"sqlite{ending}").read_bytes() != b""


def test_a_line_has_the_settings_in_force_wherever_they_were_set(mill: Any, mixed: int, out: Path) -> None:
    export_job(mill.database, mixed, out / "o.jsonl")
    first, _, third, *_, last = (line["settings"] for line in lines(out / "o.jsonl"))
    job = SamplingSettings(n=2, stop=("\n",)).to_dict() | {"bad_words": None, "logit_bias": None}
    assert first == job
    assert third == job | {"temperature": 0.5, "seed": 11}
    assert last == job | {"n": 1}


def test_each_row_is_exported_with_its_own_seed(mill: Any, out: Path) -> None:
    job = mill.submit([PromptRow(position=i, prompt="x", n=1, settings={"seed": i, "top_k": i % 2}) for i in range(9)])
    mill.generate()
    export_job(mill.database, job, out / "o.jsonl")
    said = [(line["settings"]["seed"], line["settings"]["top_k"]) for line in lines(out / "o.jsonl")]
    assert said == [(i, i % 2) for i in range(9)]


def test_what_is_empty_is_null_wherever_it_stands_in_a_line(mill: Any, out: Path) -> None:
    job = mill.submit(["Once", "Twice"], settings=SamplingSettings(logprobs=1))
    mill.generate(dead={1: "x"}, logprobs=lambda text: [])
    export_job(mill.database, job, out / "o.jsonl")
    (line,), (lost,) = lines(out / "o.jsonl"), lines(out / "o.jsonl.errors.jsonl")
    empty = ("scores", "flag_reasons", "metadata", "logprobs", "custom_id", "review")
    assert [line[name] for name in empty] == [None] * len(empty)
    assert [line["settings"][name] for name in ("stop", "bad_words", "logit_bias")] == [None] * 3
    assert lost["metadata"] is None
    for data in ((out / "o.jsonl").read_bytes(), (out / "o.jsonl.errors.jsonl").read_bytes()):
        assert b"{}" not in data and b"[]" not in data


def test_metadata_is_exported_as_it_was_submitted_down_to_what_is_empty_in_it(mill: Any, out: Path) -> None:
    metadata = {"none": None, "list": [], "object": {}, "text": "", "deep": [{"a": {}}], "long": 2**63, "real": 1.0}
    job = mill.submit([PromptRow(position=0, prompt="x", n=1, metadata=metadata)])
    mill.generate()
    export_job(mill.database, job, out / "o.jsonl")
    assert json.dumps(lines(out / "o.jsonl")[0]["metadata"]) == json.dumps(metadata)


def test_only_lines_whose_settings_asked_for_logprobs_have_them(mill: Any, out: Path) -> None:
    asked = PromptRow(position=1, prompt="b", n=1, settings={"logprobs": 1})
    job = mill.submit([PromptRow(position=0, prompt="a", n=1), asked])
    entries = [{"token": " t", "logprob": -0.5, "top": {" t": -0.5}}]
    mill.generate(logprobs=lambda text: entries)
    export_job(mill.database, job, out / "o.jsonl")
    without, with_them = lines(out / "o.jsonl")
    assert "logprobs" not in without
    assert list(with_them)[-1] == "logprobs" and with_them["logprobs"] == entries


def test_only_lines_of_models_with_a_training_text_say_what_was_copied(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b"])
    mill.generate()
    with mill.database.write() as connection:
        connection.execute(update(Output).where(Output.id == 2).values(copied_tokens=0))
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        export_job(mill.database, job, out / name)
    unknown, known = lines(out / "o.jsonl")
    assert "copied_tokens" not in unknown and known["copied_tokens"] == 0
    with (out / "o.csv").open(newline="") as file:
        assert [row["copied_tokens"] for row in csv.DictReader(file)] == ["", "0"]
    column = pq.read_table(out / "o.parquet")["copied_tokens"]
    assert (column.to_pylist(), column.type) == ([None, 0], pa.int32())


def test_hostile_texts_survive_an_export_unchanged(mill: Any, out: Path) -> None:
    job = mill.submit(HOSTILE)
    mill.generate(lambda work, sample: HOSTILE[work.position])
    export_job(mill.database, job, out / "o.jsonl")
    assert [line["text"] for line in lines(out / "o.jsonl")] == HOSTILE
    assert [line["prompt"] for line in lines(out / "o.jsonl")] == HOSTILE


def test_metadata_nested_as_deeply_as_a_prompt_file_allows_is_exported(mill: Any, out: Path) -> None:
    metadata: dict[str, Any] = {}
    deepest = 1
    while True:
        try:
            orjson.dumps({"a": metadata})
        except orjson.JSONEncodeError:
            break
        metadata, deepest = {"a": metadata}, deepest + 1
    rows = [PromptRow(position=i, prompt="x", n=1, metadata=metadata) for i in range(2)]
    job = mill.submit(rows)
    mill.generate(dead={1: "why"})
    for format in ("csv", "parquet", "openai", "jsonl"):
        export_job(mill.database, job, out / "o.jsonl", format=format)
    assert deepest > 200
    assert lines(out / "o.jsonl")[0]["metadata"] == metadata
    assert lines(out / "o.jsonl.errors.jsonl")[0]["metadata"] == metadata


@pytest.mark.parametrize(
    ("only", "texts"),
    [
        (["all"], [" good 0", " bad 0", " good 1", " bad 1", " good 3"]),
        (["clean"], [" good 0", " good 3"]),
        (["flagged"], [" bad 0", " bad 1"]),
        (["approved"], [" bad 0"]),
        (["clean", "approved"], [" good 0", " bad 0", " good 3"]),
        (["clean", "all"], [" good 0", " bad 0", " good 1", " bad 1", " good 3"]),
    ],
)
def test_only_selects_what_it_names(mill: Any, mixed: int, out: Path, only: list[str], texts: list[str]) -> None:
    mill.decide("approve", 2)
    mill.decide("reject", 3)  # good 1
    report = export_job(mill.database, mixed, out / "o.jsonl", only=only)
    assert [line["text"] for line in lines(out / "o.jsonl")] == texts
    assert report.rows == len(texts)


def test_clean_excludes_texts_that_are_not_scored_yet(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b"], batch_size=1)
    mill.generate(batches=1)
    mill.score()
    mill.generate()
    export_job(mill.database, job, out / "o.jsonl", only=["clean"])
    assert [line["position"] for line in lines(out / "o.jsonl")] == [0]


def test_only_is_parsed_from_names_separated_by_commas() -> None:
    assert parse_only(" clean, approved,clean", "demo") == ("clean", "approved")
    assert parse_only("all", "none") == ("all",)


@pytest.mark.parametrize(
    ("only", "safety", "said"),
    [
        ("clean", "none", "safety none"),
        ("cleen", "demo", "did you mean clean"),
        ("xyz", "demo", "all, clean, flagged, approved"),
        (",", "demo", "selects no outputs"),
    ],
)
def test_an_invalid_only_is_refused_with_the_valid_names(only: str, safety: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_only(only, safety)


def test_clean_of_a_job_that_scores_nothing_is_refused_before_a_file_is_made(mill: Any, out: Path) -> None:
    job = mill.submit(["a"], safety="none")
    mill.generate()
    with pytest.raises(UsageError, match="safety none"):
        export_job(mill.database, job, out / "o.jsonl", only=["clean"])
    assert list(out.iterdir()) == []


def test_an_export_that_would_be_empty_is_refused_and_says_why(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b"])
    with pytest.raises(UsageError, match=f"no outputs yet, it is queued.*watch {job}"):
        export_job(mill.database, job, out / "o.jsonl")
    mill.generate()
    mill.score()
    export_job(mill.database, job, out / "o.jsonl")
    older = (out / "o.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"2 outputs \(2 scored, 0 flagged\).*none of them is flagged.*--allow-empty"):
        export_job(mill.database, job, out / "o.jsonl", only=["flagged"])
    assert (out / "o.jsonl").read_bytes() == older


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv", "o.parquet", "o.jsonl.gz", "o.csv.zst"])
def test_an_empty_export_that_was_asked_for_can_be_read(mill: Any, out: Path, name: str) -> None:
    import pandas as pd

    job = mill.submit(["a"])
    report = export_job(mill.database, job, out / name, allow_empty=True)
    assert report.rows == 0
    if ".jsonl" not in name:
        read = pd.read_csv if ".csv" in name else pd.read_parquet
        assert len(read(out / name)) == 0


def test_a_job_whose_prompts_are_all_dead_exports_the_list_of_them(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b"])
    mill.generate(dead={0: "too long", 1: "too odd"})
    report = export_job(mill.database, job, out / "o.jsonl")
    assert (report.rows, report.errors, report.errors_path) == (0, 2, out / "o.jsonl.errors.jsonl")
    assert (out / "o.jsonl").read_bytes() == b""
    assert [line["reason"] for line in lines(out / "o.jsonl.errors.jsonl")] == ["too long", "too odd"]


def test_dead_and_cancelled_prompts_go_to_a_file_beside_the_export(mill: Any, out: Path) -> None:
    row = PromptRow(position=0, prompt="=x", n=1, custom_id="r-1", metadata={"k": 1})
    job = mill.submit([row, "b", "c"], batch_size=1)
    mill.generate(dead={0: "ran out of luck"}, batches=2)
    cancel_job(mill.database, job)
    export_job(mill.database, job, out / "o.jsonl")
    assert lines(out / "o.jsonl.errors.jsonl") == [
        {"job": job, "custom_id": "r-1", "position": 0, "prompt": "=x", "status": "dead", "code": "engine-error",
         "reason": "ran out of luck", "metadata": {"k": 1}},
        {"job": job, "custom_id": None, "position": 2, "prompt": "c", "status": "cancelled", "code": None,
         "reason": None, "metadata": None},
    ]  # fmt: skip


def test_an_older_file_of_dead_prompts_is_removed_when_there_are_none(mill: Any, out: Path) -> None:
    job = mill.submit(["a"])
    mill.generate(dead={0: "x"})
    assert export_job(mill.database, job, out / "o.jsonl").errors == 1
    retry_job(mill.database, job)
    mill.generate()
    report = export_job(mill.database, job, out / "o.jsonl")
    assert report.errors_path is None
    assert [path.name for path in out.iterdir()] == ["o.jsonl"]


def test_redacting_withholds_flagged_texts_and_their_tokens(mill: Any, out: Path) -> None:
    job = mill.submit(["a", "b", "c"], on_flag="redact", settings=SamplingSettings(logprobs=1))
    texts = [" fine", " bad secret", " bad approved"]
    mill.generate(
        lambda work, sample: texts[work.position],
        logprobs=lambda text: [{"token": text, "logprob": -1.0, "top": {text: -1.0}}],
    )
    mill.score()
    mill.decide("approve", 3)
    for name in ("o.jsonl", "o.csv", "o.parquet", "o.openai"):
        export_job(mill.database, job, out / name, format="openai" if name == "o.openai" else None)
        if name != "o.parquet":
            assert b"secret" not in (out / name).read_bytes()
    exported = lines(out / "o.jsonl")
    assert [(line["text"], line["redacted"]) for line in exported] == [
        (" fine", False), (None, True), (" bad approved", False)
    ]  # fmt: skip
    assert pq.read_table(out / "o.parquet")["text"].to_pylist() == [" fine", None, " bad approved"]
    assert pq.read_table(out / "o.parquet")["logprobs"][1].as_py() is None
    assert exported[1]["logprobs"] is None and exported[1]["flag_reasons"] == ["toxicity"]


def test_flagged_texts_are_kept_by_default_and_when_the_export_says_so(mill: Any, out: Path) -> None:
    job = mill.submit(["a"], on_flag="redact")
    mill.generate(lambda work, sample: " bad")
    mill.score()
    export_job(mill.database, job, out / "o.jsonl", on_flag="keep")
    (line,) = lines(out / "o.jsonl")
    assert line["text"] == " bad" and "redacted" not in line
    with pytest.raises(UsageError, match="keep or redact"):
        export_job(mill.database, job, out / "o.jsonl", on_flag="hide")


def test_a_job_that_is_unknown_or_still_being_submitted_is_refused(mill: Any, out: Path) -> None:
    job = mill.submit(["a"], finish=False)
    with pytest.raises(UsageError, match="still being submitted"):
        export_job(mill.database, job, out / "o.jsonl", allow_empty=True)
    with pytest.raises(UsageError, match="no job 99"):
        export_job(mill.database, 99, out / "o.jsonl")


@pytest.mark.parametrize("format", ["jsonl", "openai"])
def test_the_outputs_of_one_large_prompt_are_exported_without_a_copy_of_it_for_each(
    mill: Any, out: Path, format: str
) -> None:
    vector = list(range(100_000, 150_000))  # 0.35 MB of JSON, and five times as much as numbers
    row = PromptRow(position=0, prompt="Once", n=120, metadata={"vector": vector})
    job = mill.submit([row], safety="none")
    mill.generate()
    tracemalloc.start()
    assert export_job(mill.database, job, out / "o.zst", format=format).rows == 120
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20, f"{peak / 1e6:.0f} MB"


def test_the_postgresql_driver_holds_few_rows_at_once(
    postgres_mill: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "FETCHED_ROWS", 2)
    job = postgres_mill.submit(["a"] * 8, batch_size=4)
    postgres_mill.generate(batches=1)
    cancel_job(postgres_mill.database, job)
    held = []

    @event.listens_for(postgres_mill.database.engine, "after_cursor_execute")
    def look(connection: Any, cursor: Any, *_: Any) -> None:
        if not isinstance(cursor, psycopg.ServerCursor):
            held.append(cursor.rowcount)

    report = export_job(postgres_mill.database, job, out / "o.jsonl")
    assert (report.rows, report.errors) == (4, 4)
    assert max(held) <= 2


@pytest.fixture
def large(mill: Any) -> int:
    rows = (
        PromptRow(position=i, prompt=f"Once {i}", n=2, custom_id=f"r-{i}", metadata={"i": i}) for i in range(25_000)
    )
    job: int = mill.submit(rows, settings=SamplingSettings(n=2), batch_size=4096)
    mill.generate(lambda work, sample: f" {work.position}" + " there lived a girl by the sea" * 8)
    mill.score()
    return job


@pytest.mark.slow
def test_exporting_50_000_outputs_holds_few_of_them_in_memory(mill: Any, large: int, out: Path) -> None:
    before = pa.default_memory_pool().max_memory()
    for name, most in (("o.jsonl", 8), ("o.parquet", 48)):
        tracemalloc.start()
        assert export_job(mill.database, large, out / name).rows == 50_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most << 20, f"{name}: {peak / 1e6:.0f} MB"
    assert pa.default_memory_pool().max_memory() - before < 64 << 20
    exported = [(line["position"], line["sample_index"]) for line in lines(out / "o.jsonl")]
    assert exported == [(i, sample) for i in range(25_000) for sample in range(2)]
    assert set(lines(out / "o.jsonl")[-1]["scores"]) <= set(LABELS)


def test_an_unscored_output_names_no_classifier(mill: Any, out: Path) -> None:
    job = mill.submit(["a"])
    mill.generate()
    for format in ("jsonl", "csv", "parquet"):
        export_job(mill.database, job, out / f"o.{format}")
    (line,) = lines(out / "o.jsonl")
    assert (line["scores"], line["classifier"], line["classifier_revision"]) == (None, None, None)
    assert ",,," in (out / "o.csv").read_text("utf-8")
    (row,) = pq.read_table(out / "o.parquet").to_pylist()
    assert (row["classifier"], row["classifier_revision"]) == (None, None)
