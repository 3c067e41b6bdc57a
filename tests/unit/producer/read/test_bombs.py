"""Small Parquet files that make gigabytes of themselves: each is refused, or its rows are, before memory runs out.

They are read by a process that may not take more than `MOST_MEMORY`, and that lets a file expand to 0.1 GB, not to 1.1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MOST_MEMORY = 3 << 30
"""Of address space, most of which is only reserved: the libraries alone take one GiB."""

READ = f"""
import json, resource, sys
from contract.errors import UsageError
from producer.read.formats import parquet_limits
from producer.read.prompt_file import open_prompt_file
parquet_limits.ALWAYS_ALLOWED_BYTES = 100 << 20
resource.setrlimit(resource.RLIMIT_AS, ({MOST_MEMORY}, {MOST_MEMORY}))
said = {{}}
for path in sys.argv[1:]:
    bad = []
    try:
        with open_prompt_file(path) as file:
            for row in file.rows({{}}, lambda line, raw: bad.append(line)):
                pass
        said[path] = str(bad[0])
    except UsageError as refused:
        said[path] = str(refused)
print(json.dumps(said))
"""


def repeated(text: str, times: int) -> pa.Array:
    """One text many times over, of which Parquet writes down one, and how often."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int8()), pa.array([text]))


def one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


BOMBS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "one text 1024 times": (
        {"prompt": repeated("x" * 1_000_000, 1024)},
        {},
        ".parquet: expands to over 0.1 GB, far beyond its size; if that is intended, split it",
    ),
    "a text of 64 MB": (
        {"prompt": repeated("x" * (64 << 20), 4096)},
        {},
        ".parquet: expands to over 0.1 GB",
    ),
    "a list of texts": (
        {"prompt": ["a"], "tags": one_list(repeated("y" * 1000, 1 << 16))},
        {},
        "line 1: is over 1 MB",
    ),
    "a list without end": (
        {"prompt": ["a"], "tags": one_list(pa.nulls(1 << 26, pa.int8()))},
        {},
        ".parquet: column 'tags.list.element' has 67,108,864 list elements in one row group; leave it out",
    ),
    "a list just short enough": (
        {"prompt": ["a"], "tags": one_list(pa.nulls(1 << 23, pa.int8()))},
        {},
        "line 1: is over 1 MB",
    ),
    "texts that share their beginnings": (
        {"prompt": ["x" * 1_000_000] * 150},
        {"use_dictionary": False, "column_encoding": {"prompt": "DELTA_BYTE_ARRAY"}},
        ".parquet: expands to over 0.1 GB",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a user reads of each bomb."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {name: folder / f"{place}.parquet" for place, name in enumerate(BOMBS)}
    for name, (columns, how, _) in BOMBS.items():
        plain: dict[str, Any] = {"store_schema": False, "write_statistics": False, "dictionary_pagesize_limit": 1 << 30}
        pq.write_table(pa.table(columns), paths[name], compression="zstd", **(plain | how))
        assert paths[name].stat().st_size < 10_000
    words = [sys.executable, "-c", READ, *map(str, paths.values())]
    done = subprocess.run(words, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: found[str(path)] for name, path in paths.items()}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_parquet_bomb_is_refused_in_bounded_memory(said: dict[str, str], bomb: str) -> None:
    assert BOMBS[bomb][2] in said[bomb]
