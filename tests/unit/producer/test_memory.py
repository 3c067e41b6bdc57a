"""Small files that hold much: whatever is in them, a submission stays within `MOST_MEMORY`.

Each is submitted by a process of its own, whose peak is counted from when everything is imported.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

ROWS = 32
MB = 1 << 20
MOST_MEMORY = 256 * MB
"""Resident, beyond what the program itself takes."""

SUBMIT = """
import json, sys
import orjson, zstandard
from contract.errors import InkmillError
from db.session.engine import open_database
from producer import submit
from producer.read.prompt_file import open_prompt_file

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

submit.announce = lambda *_: None  # no Redis here
database = open_database(sys.argv[2])
before = peak()
try:
    with open_prompt_file(sys.argv[1]) as file:
        order = submit.SubmitOptions(model="demo", default_model="demo", safety="none", again=True)
        said = f"{submit.submit(database, file, order).prompts} prompts"
except InkmillError as error:
    said = str(error)
print(json.dumps([peak() - before, said]))
"""


def filled(item: str) -> str:
    """As many of them as a line has room for."""
    return ",".join([item] * ((MB - 200) // (len(item) + 1)))


def lines(row: Callable[[int], str]) -> bytes:
    return b"".join(row(number).encode() + b"\n" for number in range(ROWS))


def biases(first: int) -> str:
    return ",".join(f'"{token}":1' for token in range(first, first + 80_000))


def words(row: int) -> str:
    return ",".join(f'"{row} {number} {"w" * 1000}"' for number in range(1000))


def parquet_lists() -> bytes:
    out = io.BytesIO()
    ends = pa.array([40_000 * row for row in range(ROWS + 1)], pa.int32())
    objects = pa.StructArray.from_arrays([pa.nulls(40_000 * ROWS, pa.int8())], ["a"])
    lists = pa.ListArray.from_arrays(ends, objects)
    pq.write_table(pa.table({"prompt": ["a"] * ROWS, "x": lists}), out, compression="zstd")
    return out.getvalue()


def parquet_texts() -> bytes:
    out = io.BytesIO()
    one = pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int8()), pa.array(["x" * (MB - 100)]))
    pq.write_table(pa.table({"prompt": one}), out, compression="zstd", dictionary_pagesize_limit=1 << 30)
    return out.getvalue()


DONE = f"{ROWS} prompts"
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "bias of its own on each row.jsonl": (
        lambda: lines(lambda row: '{"prompt":"a","logit_bias":{' + biases(row) + "}}"),
        DONE,
    ),
    "bad words of its own on each row.jsonl": (
        lambda: lines(lambda row: '{"prompt":"a","bad_words":[' + words(row) + "]}"),
        DONE,
    ),
    "metadata of empty objects.jsonl": (
        lambda: lines(lambda row: '{"prompt":"a","metadata":{"x":[' + filled("{}") + "]}}"),
        DONE,
    ),
    "names that nobody knows.jsonl": (
        lambda: lines(lambda row: '{"prompt":"a","' + str(row) + "x" * (MB - 100) + '":1}'),
        "32 problems",
    ),
    "one long line.jsonl": (lambda: b"x" * (ROWS * MB), "is over 1 MB"),
    "long lines.txt": (lambda: lines(lambda row: "🦉" + "x" * (MB - 10)), DONE),
    "a name of a megabyte.csv": (
        lambda: b"prompt," + b"n" * (MB - 100) + b"\n" + b"a,b\n" * 1000,
        "has a name of 1,048,476 characters; shorten it to at most 512",
    ),
    "nothing but cells.csv": (lambda: b"prompt,a\n" + (b"ab," * (MB // 3 - 10) + b"\n") * ROWS, "32 problems"),
    "broken rows, then blank lines.csv": (
        lambda: b"prompt\n" + b"a\rb\n" * 5000 + (b"x" * 9999 + b"\n") * 10_000,
        "5,000 problems",
    ),
    "lists of nothing.parquet": (parquet_lists, DONE),
    "one text again and again.parquet": (parquet_texts, DONE),
}


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_takes_a_bounded_amount_of_memory(name: str, tmp_path: Path) -> None:
    make, outcome = FILES[name]
    packed = name.endswith(".parquet")
    path = tmp_path / (name if packed else name + ".zst")
    path.write_bytes(make() if packed else zstandard.compress(make()))
    assert path.stat().st_size < 300_000
    words = [sys.executable, "-c", SUBMIT, str(path), f"sqlite:///{tmp_path / 'test.db'}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    taken, said = json.loads(done.stdout)
    assert outcome in said
    assert taken < MOST_MEMORY
