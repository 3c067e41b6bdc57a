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
from hypothesis import example, given
from hypothesis import strategies as st

from contract.errors import BadLine, UsageError
from contract.sampling import CANONICAL
from contract.spec import PromptRow
from producer.read.prompt_file import open_prompt_file
from producer.read.read_options import ReadOptions
from tests.examples import examples
from tests.unit.producer.conftest import PACK

EXAMPLES = 60
"""Of each test."""
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


KINDS: list[tuple[pa.DataType | None, st.SearchStrategy[Any]]] = [
    (pa.string(), st.text(max_size=5)),
    (pa.large_string(), st.text(max_size=5)),
    (pa.binary(), st.binary(max_size=5)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.timestamp("ns"), st.integers(-(2**63), 2**63 - 1)),
    (pa.timestamp("us", "UTC"), st.integers(-(2**63), 2**63 - 1)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    (pa.duration("us"), st.integers(-(2**63), 2**63 - 1)),
    (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.decimal128(38, 4), st.decimals(-(10**9), 10**9, places=4)),
    (pa.dictionary(pa.int32(), pa.string()), st.text(max_size=5)),
    (pa.list_(pa.float64()), st.lists(st.floats(), max_size=3)),
    (pa.list_(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    (pa.map_(pa.string(), pa.int32()), st.lists(st.tuples(st.text(max_size=2), st.integers(0, 9)), max_size=3)),
    (pa.struct({"a": pa.list_(pa.struct({"b": pa.string()}))}), st.just({"a": [{"b": "x"}, None]})),
    (pa.null(), st.none()),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of some columns of any kinds, a prompt mostly among them."""
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(NAMES | st.text(max_size=5), min_size=1, max_size=4, unique=True))
    columns = {}
    for name in [*names, "prompt"]:
        kind, values = draw(st.sampled_from(KINDS[:1] if name == "prompt" else KINDS))
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


def survives(path: Path, data: bytes, format: str | None, **options: Any) -> list[PromptRow]:
    """Reads `data`; every row and every problem must be fit to be stored and shown."""
    path.write_bytes(data)
    bad: list[BadLine] = []
    raws: list[bytes] = []

    def on_bad(line: BadLine, raw: bytes) -> None:
        bad.append(line)
        raws.append(raw)

    try:
        with open_prompt_file(str(path), ReadOptions(form=format, **options)) as file:
            rows = list(file.rows({}, on_bad))
    except UsageError:
        return []
    assert [row.position for row in rows] == list(range(len(rows)))
    for row in rows:
        kept = orjson.dumps([row.prompt, row.custom_id, row.settings, row.metadata])
        assert b"\\u0000" not in kept.replace(b"\\\\", b"")
    assert all(isinstance(raw, bytes) for raw in raws)
    for line in bad:
        assert line.number > 0 and line.problem.message and len(str(line)) < 5000
    return rows


@examples(EXAMPLES)
@given(
    data=st.binary(max_size=300) | st.lists(SCRAPS, max_size=40).map(b"".join),
    format=st.sampled_from([None, "jsonl", "openai", "csv", "tsv", "parquet", "txt"]),
    packing=st.sampled_from([*PACK]),
)
def test_random_bytes_are_read_or_refused(folder: Path, data: bytes, format: str | None, packing: str) -> None:
    survives(folder / "fuzz", PACK[packing](data), format)


@examples(EXAMPLES)
@given(lines=st.lists(ROW | JSON, max_size=4), format=st.sampled_from([None, "jsonl", "openai"]))
def test_random_json_is_read_or_refused(folder: Path, lines: list[Any], format: str | None) -> None:
    survives(folder / "fuzz.jsonl", "\n".join(map(json.dumps, lines)).encode(), format)


@examples(EXAMPLES)
@given(value=st.lists(ROW | JSON, max_size=4), cut=st.integers(0, 30), indent=st.sampled_from([None, 1]))
def test_random_arrays_are_read_or_refused(folder: Path, value: list[Any], cut: int, indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()
    survives(folder / "fuzz.json", data, None)
    survives(folder / "fuzz.json", data[: max(0, len(data) - cut)], "jsonl")


@examples(EXAMPLES)
@given(bodies=st.lists(ROW, min_size=1, max_size=3), envelope=st.dictionaries(NAMES, JSON, max_size=2))
def test_random_requests_are_read_or_refused(folder: Path, bodies: list[Any], envelope: dict[str, Any]) -> None:
    requests = [{"custom_id": "a", "url": "/v1/completions", "body": body} | envelope for body in bodies]
    survives(folder / "fuzz.jsonl", "\n".join(map(json.dumps, requests)).encode(), "openai")


@examples(EXAMPLES)
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
    at %= len(data) + 1
    data[at : at + len(scrap)] = scrap
    survives(folder / f"fuzz.parquet{packing}", bytes(data[: len(data) - cut % 50]), None)


@examples(EXAMPLES)
@given(
    prompts=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=5)
)
def test_every_prompt_is_read_unchanged(folder: Path, prompts: list[str]) -> None:
    lines = b"\n".join(orjson.dumps({"prompt": prompt}) for prompt in prompts)
    assert [row.prompt for row in survives(folder / "fuzz.jsonl", lines, None)] == prompts
    cells = '"' + '"\n"'.join(prompt.replace('"', '""') for prompt in prompts) + '"'
    table = f"prompt\n{cells}\n".encode()
    assert [row.prompt for row in survives(folder / "fuzz.csv", table, "csv", empty_prompts=True)] == prompts


@examples(EXAMPLES)
@given(table=tables(), version=st.sampled_from(["1.0", "2.6"]), compression=st.sampled_from(["none", "zstd", "snappy"]))
def test_parquet_of_every_kind_is_read_or_refused(
    folder: Path, table: pa.Table, version: str, compression: str
) -> None:
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink, version=version, compression=compression)
    except (pa.ArrowException, OverflowError):
        return  # what pyarrow cannot write nobody brings
    survives(folder / "fuzz.parquet", sink.getvalue(), None)


@examples(EXAMPLES)
@given(
    rows=st.lists(
        st.lists(st.sampled_from(['"', "a", "", '""', "a\nb", '"a"', 'a"b', "é", " ", "1"]), max_size=4), max_size=6
    )
)
def test_csv_of_every_kind_is_read_or_refused(folder: Path, rows: list[list[str]]) -> None:
    survives(folder / "fuzz.csv", ("prompt,n,topic\n" + "\n".join(map(",".join, rows))).encode(), None)


@examples(EXAMPLES)
@given(
    parts=st.lists(st.sampled_from([*PACK]).flatmap(lambda how: st.binary(max_size=40).map(PACK[how])), max_size=4),
    ending=st.sampled_from([".txt.gz", ".txt.zst", ""]),
)
def test_concatenated_compressed_pieces_are_read_or_refused(folder: Path, parts: list[bytes], ending: str) -> None:
    survives(folder / f"fuzz{ending}", b"".join(parts), None)


@examples(EXAMPLES)
@example(flips=[(255, 24)])  # over these two Arrow aborts the process that looks at the columns
@example(flips=[(255, 88)])
@given(flips=st.lists(st.tuples(st.integers(1, 700), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_parquet_footer_is_read_or_refused(folder: Path, flips: list[tuple[int, int]]) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["Once", "upon"] * 9, "tags": [["a"], None] * 9}), sink, store_schema=False)
    data = bytearray(sink.getvalue())
    for place, value in flips:
        data[-min(place, len(data))] = value
    survives(folder / "fuzz.parquet", bytes(data), None)
