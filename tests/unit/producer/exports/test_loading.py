"""What docs/commands.md says loads an export, loads it: ids and texts as text, numbers exactly."""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from contract.spec import PromptRow
from producer.export import export_job

DOCS = (Path(__file__).parents[4] / "docs" / "commands.md").read_text("utf-8")
LINES = [
    ast.unparse(statement)
    for block in re.findall(r"<!-- loading.*? -->\n```python\n(.*?)```", DOCS, re.DOTALL)
    for statement in ast.parse(block).body
    if isinstance(statement, ast.Assign)
]
IDS = ["007", "123456789012345678901234", "2024-01-01", "1e5", "true", "NaN", None, "null"]
TEXTS = ["12", "null", "NaN", "2024-01-01T00:00:00Z", " -1", "=1+1", "a\r\nb\rc\nd", '"quoted", and \ufeff']


def job_of(mill: Any, metadata: dict[str, Any] | None = None) -> int:
    rows = [
        PromptRow(position=i, prompt=TEXTS[i], n=1, custom_id=name, metadata=metadata) for i, name in enumerate(IDS)
    ]
    job: int = mill.submit(rows)
    mill.generate(lambda work, sample: TEXTS[work.position])
    return job


def loaded(line: str) -> list[dict[str, Any]]:
    """The rows of what a line of the page makes of an export."""
    modules = {"pd": "pandas", "pq": "pyarrow.parquet", "datasets": "datasets", "pl": "polars"}
    name = re.match(r"table = (\w+)", line)[1]  # type: ignore[index]
    if importlib.util.find_spec(modules[name].partition(".")[0]) is None:
        pytest.skip(f"{modules[name]} is not installed")
    names: dict[str, Any] = {name: importlib.import_module(modules[name])}
    exec(line, names)
    table = names["table"]
    if isinstance(table, pd.DataFrame):
        rows: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[assignment]
        return rows
    return list(table.to_pylist() if hasattr(table, "to_pylist") else table.to_dicts() if name == "pl" else table)


def test_the_page_names_every_format_and_program() -> None:
    said = "\n".join(LINES)
    assert len(LINES) == 8 and all(f"texts.{ending}" in said for ending in ("jsonl", "csv", "parquet"))


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("metadata", [None, {"topic": "sea"}])
def test_ids_and_texts_are_text_and_numbers_exact(
    mill: Any, out: Path, line: str, metadata: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(os.environ, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    job = job_of(mill, metadata)
    for ending in ("jsonl", "csv", "parquet"):
        export_job(mill.database, job, out / f"texts.{ending}")
    monkeypatch.chdir(out)
    rows = loaded(line)
    assert [row["custom_id"] for row in rows] == IDS
    assert [row["text"] for row in rows] == [row["prompt"] for row in rows] == TEXTS
    assert [int(row["seed"]) for row in rows] == [2**53 - 1 - place for place in range(len(IDS))]


@pytest.mark.parametrize("metadata", [None, {"topic": "sea"}])
@pytest.mark.parametrize("scored", [False, True])
def test_json_lines_can_be_written_as_parquet_by_those_who_read_them(
    mill: Any, out: Path, metadata: dict[str, Any] | None, scored: bool
) -> None:
    job = job_of(mill, metadata)
    if scored:
        mill.score()
    export_job(mill.database, job, out / "o.jsonl")
    pd.read_json(out / "o.jsonl", lines=True, dtype=False).to_parquet(io.BytesIO())
    pq.write_table(pyarrow.json.read_json(out / "o.jsonl"), pa.BufferOutputStream())
    if importlib.util.find_spec("polars"):
        import polars as pl

        pl.read_ndjson(out / "o.jsonl", infer_schema_length=None).write_parquet(out / "o.parquet")
