"""Whatever bytes come in, a prompt file is read or refused: no other exception, and never a hang."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BadLine, UsageError
from contract.sampling import CANONICAL
from contract.spec import PromptRow
from producer.readers import open_input

from .conftest import PACK

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["prompt", "custom_id", "metadata", "promt", "url", "body", "model", "user", *CANONICAL])
ROW = st.dictionaries(NAMES | st.text(), JSON, max_size=6)
SCRAPS = st.sampled_from(
    [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"prompt,n\n", b"{", b"}", b"[", b":", b"a", b"\\u0000"]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def survives(path: Path, data: bytes, form: str | None) -> list[PromptRow]:
    """Reads `data`; every row and every problem must be fit to be stored and shown."""
    path.write_bytes(data)
    bad: list[BadLine] = []
    try:
        with open_input(str(path), form=form) as file:
            rows = list(file.rows({}, lambda line, raw: bad.append(line)))
    except UsageError:
        return []
    assert [row.position for row in rows] == list(range(len(rows)))
    for row in rows:
        kept = orjson.dumps([row.prompt, row.custom_id, row.settings, row.metadata])
        assert b"\\u0000" not in kept.replace(b"\\\\", b"")
    for line in bad:
        assert line.number > 0 and line.problem.message and len(str(line)) < 5000
    return rows


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=300) | st.lists(SCRAPS, max_size=40).map(b"".join),
    form=st.sampled_from([None, "jsonl", "openai", "csv", "parquet", "txt"]),
    packing=st.sampled_from([*PACK]),
)
def test_random_bytes_are_read_or_refused(folder: Path, data: bytes, form: str | None, packing: str) -> None:
    survives(folder / "fuzz", PACK[packing](data), form)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(ROW | JSON, max_size=4), form=st.sampled_from([None, "jsonl", "openai"]))
def test_random_json_is_read_or_refused(folder: Path, lines: list[Any], form: str | None) -> None:
    survives(folder / "fuzz.jsonl", "\n".join(map(json.dumps, lines)).encode(), form)


@settings(max_examples=300, deadline=None)
@given(bodies=st.lists(ROW, min_size=1, max_size=3), envelope=st.dictionaries(NAMES, JSON, max_size=2))
def test_random_requests_are_read_or_refused(folder: Path, bodies: list[Any], envelope: dict[str, Any]) -> None:
    requests = [{"custom_id": "a", "url": "/v1/completions", "body": body} | envelope for body in bodies]
    survives(folder / "fuzz.jsonl", "\n".join(map(json.dumps, requests)).encode(), "openai")


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, 10_000),
    at=st.integers(0, 10_000),
    scrap=st.binary(max_size=20),
    packing=st.sampled_from([*PACK]),
)
def test_damaged_compressed_and_parquet_files_are_read_or_refused(
    folder: Path, cut: int, at: int, scrap: bytes, packing: str
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": [f"Once {n}" for n in range(200)], "n": [1] * 200}), sink)
    data = bytearray(PACK[packing](sink.getvalue()))
    at %= len(data)
    data[at : at + len(scrap)] = scrap
    survives(folder / f"fuzz.parquet{packing}", bytes(data[: len(data) - cut % 50]), None)


@settings(max_examples=300, deadline=None)
@given(
    prompts=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=5)
)
def test_every_prompt_comes_out_as_it_went_in(folder: Path, prompts: list[str]) -> None:
    lines = b"\n".join(orjson.dumps({"prompt": prompt}) for prompt in prompts)
    assert [row.prompt for row in survives(folder / "fuzz.jsonl", lines, None)] == prompts
    cells = '"' + '"\n"'.join(prompt.replace('"', '""') for prompt in prompts) + '"'
    assert [row.prompt for row in survives(folder / "fuzz.csv", f"prompt\n{cells}\n".encode(), None)] == prompts
