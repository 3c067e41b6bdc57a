"""Prompt files in every form and compression give the same rows; what is damaged is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from contract.errors import BadInput, BadLine, Problem, UsageError
from contract.spec import PromptRow, SamplingSettings
from db.session.engine import Database, open_database
from producer.bad_lines import BadLines
from producer.decompression import ALWAYS_ALLOWED_BYTES
from producer.read.prompt_file import EmptyInput, open_prompt_file
from producer.read.read_options import ReadOptions
from producer.write.target import Target
from tests.unit.producer.conftest import PACK, Read, no_bad_line

Reading = Callable[..., Read]


@pytest.fixture
def written(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A database that knows what was written."""
    (tmp_path / "home").mkdir()
    shutil.copy(sqlite_template, tmp_path / "home" / "inkmill.db")
    database = open_database(f"sqlite:///{tmp_path / 'home' / 'inkmill.db'}")
    yield database
    database.close()


ROWS: list[dict[str, Any]] = [
    {"prompt": "Once, there was", "custom_id": "a", "temperature": 0.5, "metadata": {"topic": "sea"}},
    {"prompt": "Zwölf „Müller“ 🌾", "custom_id": "b", "n": 3, "stop": ["\n", "."], "metadata": {"topic": "mill"}},
    {"prompt": "", "custom_id": "c", "do_sample": False, "logit_bias": {"50256": -100.0}, "metadata": {"topic": "x"}},
]
EXPECTED = [
    PromptRow(
        position=0, prompt="Once, there was", n=1, custom_id="a", settings={"temperature": 0.5},
        metadata={"topic": "sea"},
    ),
    PromptRow(
        position=1, prompt="Zwölf „Müller“ 🌾", n=3, custom_id="b", settings={"n": 3, "stop": ["\n", "."]},
        metadata={"topic": "mill"},
    ),
    PromptRow(
        position=2, prompt="", n=1, custom_id="c",
        settings={"do_sample": False, "logit_bias": {"50256": -100.0}}, metadata={"topic": "x"},
    ),
]  # fmt: skip


def as_jsonl() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_openai() -> bytes:
    requests = []
    for row in ROWS:
        body = {name: value for name, value in row.items() if name != "custom_id"}
        requests.append({"custom_id": row["custom_id"], "method": "POST", "url": "/v1/completions", "body": body})
    return "\n".join(map(json.dumps, requests)).encode()


def as_csv() -> bytes:
    return (
        "custom_id,prompt,temperature,num_return_sequences,stop,do_sample,logit_bias,topic\r\n"
        'a,"Once, there was",0.5,,,,,sea\r\n'
        'b,Zwölf „Müller“ 🌾,,3,"[""\\n"", "".""]",,,mill\r\n'
        'c,"",,,,no,"{""50256"": -100}",x\r\n'
    ).encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    columns = {
        "custom_id": ["a", "b", "c"],
        "prompt": [row["prompt"] for row in ROWS],
        "temperature": [0.5, float("nan"), None],
        "n": pa.array([None, 3, None], pa.int64()),
        "stop": [None, ["\n", "."], None],
        "do_sample": [None, None, False],
        "logit_bias": [None, None, '{"50256": -100}'],
        "topic": ["sea", "mill", "x"],
    }
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


MAKERS = {"jsonl": as_jsonl, "openai": as_openai, "csv": as_csv, "parquet": as_parquet}
ENDING = {"jsonl": ".jsonl", "openai": ".jsonl", "csv": ".csv", "parquet": ".parquet"}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("format", MAKERS)
def test_every_format_and_compression_gives_the_same_rows(read: Reading, format: str, packing: str) -> None:
    table = format in ("csv", "parquet")
    found = read(PACK[packing](MAKERS[format]()), f"prompts{ENDING[format]}{packing}", empty_prompts=table)
    assert (found.rows, found.bad, found.format) == (EXPECTED, [], format)


@pytest.mark.parametrize("packing", PACK)
def test_a_text_file_has_a_prompt_on_each_line_that_is_not_blank(read: Reading, packing: str) -> None:
    found = read(PACK[packing](b"\xef\xbb\xbfOnce \r\n\r\n   \n[WP] A mill\n{x}"), f"p.txt{packing}")
    assert [row.prompt for row in found.rows] == ["Once ", "[WP] A mill", "{x}"]
    assert [row.position for row in found.rows] == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "format"),
    [(as_jsonl(), "jsonl"), (as_openai(), "openai"), (as_parquet(), "parquet"), (b"[WP] A mill", "txt")],
)
def test_the_first_line_tells_the_format_if_the_name_does_not(read: Reading, data: bytes, format: str) -> None:
    assert read(data, "prompts").format == format
    assert read(gzip.compress(data), "prompts.dat").format == format


def test_a_requested_format_wins_over_the_file_name(read: Reading) -> None:
    assert read(as_csv(), "p.txt", form="csv", empty_prompts=True).rows == EXPECTED
    with pytest.raises(
        UsageError, match=r"'xml' is not a prompt file format.*jsonl, openai, csv, tsv, parquet, xlsx, txt"
    ):
        read(b"x", form="xml")


def test_a_byte_order_mark_crlf_and_blank_lines_are_tolerated(read: Reading) -> None:
    found = read(b"\xef\xbb\xbf" + as_jsonl().replace(b"\n", b"\r\n\r\n"))
    assert (found.rows, found.bad) == (EXPECTED, [])


def test_line_numbers_count_blank_lines_and_positions_only_good_rows(read: Reading) -> None:
    found = read('\n{"prompt": "a"}\n\n{"prompt": 1}\n{"prompt": "b"}')
    assert [line.number for line in found.bad] == [4]
    assert [(row.position, row.prompt) for row in found.rows] == [(0, "a"), (1, "b")]


def test_lines_are_read_whole_wherever_a_block_ends(read: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("producer.read.lines.BLOCK_BYTES", max(size, 3))
        assert read(as_jsonl()).rows == EXPECTED
        assert read(as_csv(), "p.csv", empty_prompts=True).rows == EXPECTED


def test_a_row_wins_over_a_flag_and_a_flag_over_the_default(read: Reading, tmp_path: Path) -> None:
    found = read('{"prompt": "a"}\n{"prompt": "b", "n": 2}', flags={"n": 5, "temperature": 0.7})
    assert [(row.n, row.settings) for row in found.rows] == [(5, None), (2, {"n": 2})]
    with open_prompt_file(str(tmp_path / "p.jsonl")) as file:
        assert file.base_settings({"n": 5}) == SamplingSettings(n=5)


def test_a_row_is_checked_together_with_the_flags(read: Reading) -> None:
    found = read('{"prompt": "a", "temperature": 0}\n{"prompt": "b", "min_tokens": 65}', flags={"n": 5})
    assert "line 1: n: is 5, but greedy" in found.told
    assert "line 2: min_new_tokens: is 65, more than max_new_tokens 64" in found.told


def test_settings_that_look_alike_are_not_confused(read: Reading) -> None:
    found = read(
        '{"prompt": "a", "n": 1}\n{"prompt": "b", "n": true}\n{"prompt": "c", "stop": "1"}\n{"prompt": "d", "stop": 1}'
    )
    assert [row.prompt for row in found.rows] == ["a", "c"]
    assert [line.problem.field for line in found.bad] == ["n", "stop"]


def test_seeds_of_rows_that_share_their_other_settings_stay_apart(read: Reading) -> None:
    found = read("".join(f'{{"prompt": "a", "top_k": 5, "seed": {seed}}}\n' for seed in (1, 2, -2)))
    assert [row.settings for row in found.rows] == [{"top_k": 5, "seed": 1}, {"top_k": 5, "seed": 2}]
    assert "line 3: seed: must be from 0" in found.told


def test_null_counts_as_absent_and_a_whole_number_is_a_custom_id(read: Reading) -> None:
    found = read(
        '{"prompt": "a", "temperature": null, "metadata": null, "custom_id": null}\n{"prompt": "b", "custom_id": 7}'
    )
    assert (found.rows[0].settings, found.rows[0].metadata, found.rows[0].custom_id) == (None, None, None)
    assert found.rows[1].custom_id == "7"


def test_standard_input_is_read_in_any_format_and_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for format, make in MAKERS.items():
        table = format in ("csv", "parquet")
        data = gzip.compress(make())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        options = ReadOptions(empty_prompts=table, form="csv" if format == "csv" else None)
        with open_prompt_file("-", options) as file:
            assert (file.name, file.format, file.digest()) == ("stdin", format, hashlib.sha256(data).hexdigest())
            assert [list(file.rows({}, no_bad_line)) for _ in range(2)] == [EXPECTED, EXPECTED]


def test_standard_input_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_jsonl())))
    with open_prompt_file("-") as file:
        assert os.listdir(tmp_path) == []  # it never has a name that another user could open
        assert len(list(file.rows({}, no_bad_line))) == 3
    assert os.listdir(tmp_path) == []


def test_a_named_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(as_jsonl(),))
    writer.start()
    with open_prompt_file(str(path)) as file:
        assert list(file.rows({}, no_bad_line)) == EXPECTED
    writer.join()


def test_two_simultaneous_passes_and_a_digest_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(as_jsonl())
    with open_prompt_file(str(path)) as file:
        first = file.rows({}, no_bad_line)
        rows = [next(first)]
        assert list(file.rows({}, no_bad_line)) == EXPECTED
        assert file.digest() == hashlib.sha256(as_jsonl()).hexdigest()
        assert rows + list(first) == EXPECTED


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, read: Reading) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.jsonl: no such file"):
        open_prompt_file(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(UsageError, match="is a directory; name a prompt file"):
        open_prompt_file(str(tmp_path))
    with pytest.raises(UsageError, match=r"p\.xls: \.xls files are not supported; save the table as CSV in UTF-8"):
        read(b"PK\x03\x04", "p.xls")


@pytest.mark.parametrize(
    "name", ["p.jsonl", "p.csv", "p.txt", "p.parquet", "p.jsonl.gz", "p.csv.zst", "p", "p.parquet.gz"]
)
def test_an_empty_file_is_reported_to_have_no_prompts(read: Reading, name: str) -> None:
    with pytest.raises(EmptyInput, match="has no prompts; add at least one, or use --allow-empty"):
        read(b"", name)


def test_a_file_of_nothing_but_blank_lines_or_a_header_is_empty(read: Reading) -> None:
    for data, name in ((b"\n \r\n", "p.jsonl"), (b"\xef\xbb\xbf", "p.txt"), (b"prompt,topic\n", "p.csv")):
        with pytest.raises(EmptyInput):
            read(data, name)
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), sink)
    with pytest.raises(EmptyInput):
        read(sink.getvalue(), "p.parquet")
    assert len(read(b"{", "p.jsonl").bad) == 1  # a bad line is no empty file


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_compressed_data_that_was_cut_off_is_an_error(read: Reading, packing: str) -> None:
    data = PACK[packing](os.urandom(50_000).hex("\n", 1).encode())
    for cut in (1, 9, len(data) // 2):
        with pytest.raises(UsageError, match=rf"p\.txt\{packing}: the {packing[1:]} data (is truncated|is damaged)"):
            read(data[:-cut], "p.txt" + packing)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_compressed_data_that_is_damaged_is_an_error(read: Reading, packing: str) -> None:
    data = bytearray(PACK[packing](as_jsonl() * 50))
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    with pytest.raises(UsageError, match=f"the {packing[1:]} data"):
        read(bytes(data), "p.jsonl" + packing)


def test_a_file_named_as_compressed_must_be_compressed(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"is named \.gz but is not gz data; rename it or compress it"):
        read(as_jsonl(), "p.jsonl.gz")


def test_concatenated_gz_members_and_zst_frames_are_one_file(read: Reading) -> None:
    lines = as_jsonl().splitlines(keepends=True)
    for packing in (".gz", ".zst"):
        assert read(b"".join(map(PACK[packing], lines)), "p.jsonl" + packing).rows == EXPECTED


def test_a_decompression_bomb_is_stopped(read: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.decompression.ALWAYS_ALLOWED_BYTES", 1 << 20)
    blank = b"\n" * (1 << 25)
    bombs = {".zst": zstandard.ZstdCompressor().compress(blank), ".gz": gzip.compress(gzip.compress(blank))}
    with pytest.raises(UsageError, match=r"expands to over .* 1000 times its size; if that is intended, decompress it"):
        read(bombs[".zst"], "p.txt.zst")
    assert ALWAYS_ALLOWED_BYTES == 1 << 30
    # Up to the free size, any ratio will do.
    assert [row.prompt for row in read(PACK[".zst"](b"\n" * (1 << 19) + b"x"), "p.txt.zst").rows] == ["x"]


def test_a_zst_bomb_never_fills_the_memory(read: Reading) -> None:
    data = zstandard.ZstdCompressor().compress(b"x" * (300 << 20) + b"\nx")
    tracemalloc.start()
    try:
        assert [row.prompt for row in read(data, "p.txt.zst").rows] == ["x"]
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_an_endless_line_is_refused_without_reading_it_into_memory(read: Reading) -> None:
    data = b'{"prompt": "a"}\n{"prompt": "' + b"x" * (40 << 20) + b'"}\n{"prompt": "b"}\n'
    tracemalloc.start()
    try:
        found = read(PACK[".gz"](data), "p.jsonl.gz")
        assert tracemalloc.get_traced_memory()[1] < len(data) + (20 << 20)  # `data` itself was there before
    finally:
        tracemalloc.stop()
    assert [row.prompt for row in found.rows] == ["a", "b"]
    assert str(found.bad[0]).startswith("line 2: is over 1 MB")
    assert len(found.raw[0]) == (1 << 20) + 1


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "txt"])
def test_memory_stays_the_same_however_long_the_file_is(tmp_path: Path, format: str) -> None:
    peaks = []
    for count in (20_000, 80_000):
        path = tmp_path / f"{count}.{format}"
        if format == "parquet":
            pq.write_table(pa.table({"prompt": ["Once upon a time"] * count}), path)
        else:
            line = '{"prompt": "Once upon a time"}' if format == "jsonl" else "Once upon a time"
            path.write_text(("prompt\n" if format == "csv" else "") + f"{line}\n" * count)
        tracemalloc.start()
        try:
            with open_prompt_file(str(path)) as file:
                assert sum(1 for _ in file.rows({}, no_bad_line)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + (6 << 20)  # a block of 1 MB, cut into lines


def test_a_line_of_exactly_the_limit_is_read(read: Reading) -> None:
    limit = 1 << 20
    found = read(b"x" * limit + b"\n" + b"y" * (limit + 1), "p.txt")
    assert [len(row.prompt) for row in found.rows] == [limit]
    assert [line.number for line in found.bad] == [2]


def test_a_duplicate_custom_id_is_reported_with_the_line_of_the_first(read: Reading) -> None:
    lines = [f'{{"custom_id": "r-{number}", "prompt": ""}}\n' for number in range(20_000)]
    found = read("".join(lines) + lines[12_344])
    assert len(found.rows) == 20_000
    assert found.told == "line 20001: custom_id: 'r-12344' is already on line 12,345; give each prompt its own"


def test_the_first_twenty_bad_lines_and_their_number_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": 1}\n' * 25)
    with open_prompt_file(str(path)) as file, BadLines(file.name) as bad:
        assert list(file.rows({}, bad)) == []
        error = bad.error()
    assert isinstance(error, BadInput) and (error.total, len(error.lines), error.exit_code) == (25, 20, 2)
    assert "line 20: prompt: must be text, not a number\n  … and 5 more" in str(error)
    assert os.listdir(tmp_path) == ["p.jsonl"]


@pytest.mark.parametrize(
    ("name", "data", "bad_name", "bad"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n{oops\r\n', "p.bad.jsonl", b"{oops\r\n"),
        ("p.csv", b'prompt,n\r\n"a\nb",2\n"c\nd",x\n', "p.bad.csv", b'prompt,n\r\n"c\nd",x\n'),
        ("p.txt", b"a\n\xff\n", "p.bad.txt", b"\xff\n"),
    ],
)
@pytest.mark.parametrize("packing", PACK)
def test_skipped_lines_are_written_unchanged_next_to_the_input(
    written: Database, tmp_path: Path, name: str, data: bytes, bad_name: str, bad: bytes, packing: str
) -> None:
    path = tmp_path / (name + packing)
    path.write_bytes(PACK[packing](data))
    with (
        open_prompt_file(str(path)) as file,
        BadLines(file.name, Target(written, file.bad_path, None, ""), file.bad_header) as bad_lines,
    ):
        assert len(list(file.rows({}, bad_lines))) == 1
    assert (tmp_path / bad_name).read_bytes() == bad


def write_bad(database: Database, path: Path, number: int) -> None:
    with BadLines("p", Target(database, path, None, "move it away")) as bad:
        bad(BadLine(number, Problem("n", "x")), b"%d" % number)


def test_only_the_owner_can_read_skipped_lines_and_they_replace_only_earlier_ones(
    written: Database, tmp_path: Path
) -> None:
    path, moved = tmp_path / "p.bad.jsonl", tmp_path / "moved"
    before = os.umask(0)
    try:
        write_bad(written, path, 1)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"1\n", 0o600)
    write_bad(written, path, 2)
    assert path.read_bytes() == b"2\n"
    path.write_bytes(b"mended\n")
    with pytest.raises(
        UsageError, match=r"p\.bad\.jsonl: already exists, and is not as Inkmill wrote it; move it away"
    ):
        write_bad(written, path, 3)
    path.rename(moved)
    path.symlink_to(moved)
    with pytest.raises(UsageError, match="already exists"):
        write_bad(written, path, 4)
    assert moved.read_bytes() == b"mended\n" and path.is_symlink()


def test_skipped_lines_that_cannot_be_written_are_an_error(written: Database, tmp_path: Path) -> None:
    target = Target(written, tmp_path / "no" / "p.bad.jsonl", None, "")
    with BadLines("p", target) as bad, pytest.raises(UsageError, match="cannot be written"):
        bad(BadLine(1, Problem("n", "x")), b"{}")
