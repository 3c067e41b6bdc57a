"""What TensorFlow and LevelDB wrote is read, number for number, and what was changed since is refused by name.

`tools/foreign_checkpoints/tensorflow_checkpoints.py` had them write the files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contract.errors import UsageError
from worker.importing.tensorflow.damage import Damaged
from worker.importing.tensorflow.protobuf import fields, varint
from worker.importing.tensorflow.table import read_table
from worker.importing.tensorflow.tensor_bundle import TensorBundle

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
UNREAD = {*range(211, 224), *range(244, 247), *range(250, 284)}
"""Bytes of that index that mean nothing here: a block on blocks, where it lies, and what fills up the footer."""
VALUES = [[0.5, -1.25, 3.0], [0.0, 2.0**-7, -64.0]]


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    """A checkpoint with a tensor of each kind, to be spoilt."""
    return Path(shutil.copytree(DATA / "kinds", tmp_path / "kinds")) / "model.ckpt"


def change(path: Path, place: int, by: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= by
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_numbers_of_every_kind_that_weights_have_are_read(name: str) -> None:
    read = TensorBundle(DATA / "kinds" / "model.ckpt").read(name)
    assert read.dtype == np.float32
    assert read.tolist() == VALUES


def test_a_scalar_and_an_empty_tensor_are_read() -> None:
    bundle = TensorBundle(DATA / "kinds" / "model.ckpt")
    assert bundle.read("scalar").shape == () and bundle.read("scalar") == 1.5
    assert bundle.read("empty").shape == (0, 3)


def test_other_numbers_are_no_weights() -> None:
    with pytest.raises(UsageError, match=r"model\.ckpt\.index: int32 has numbers of a kind that weights do not have"):
        TensorBundle(DATA / "kinds" / "model.ckpt").read("int32")


def test_tensors_are_found_in_the_shard_that_has_them() -> None:
    bundle = TensorBundle(DATA / "shards" / "model-7")
    assert [path.name for path in bundle.paths[1:]] == [f"model-7.data-0000{shard}-of-00002" for shard in (0, 1)]
    assert {bundle._entries[name].shard for name in bundle.names} == {0, 1}
    assert all(np.isfinite(bundle.read(name)).all() for name in bundle.names if name != "global_step")


def test_a_table_of_leveldb_in_many_blocks_under_snappy_is_read() -> None:
    """Its keys have LevelDB's own eight bytes behind them."""
    table = [(key[:-8], value) for key, value in read_table((DATA / "leveldb" / "snappy.ldb").read_bytes())]
    expected = [(f"model/h{number:03}/attn", f"value {number} " * 3) for number in range(600)]
    assert table == [(key.encode(), value.encode()) for key, value in expected]


def test_every_changed_byte_of_a_compressed_table_is_noticed() -> None:
    content = (DATA / "leveldb" / "snappy.ldb").read_bytes()
    blocks = range(0, len(content) - 200, 97)
    for place in blocks:
        changed = bytearray(content)
        changed[place] ^= 0x10
        with pytest.raises(Damaged):
            list(read_table(bytes(changed)))


@pytest.mark.parametrize("place", range(0, 292, 13))
def test_no_changed_byte_of_an_index_gives_other_numbers(kinds: Path, place: int) -> None:
    change(kinds.with_name("model.ckpt.index"), place)
    if place in UNREAD:
        assert TensorBundle(kinds).read("float32").tolist() == VALUES
        return
    with pytest.raises(UsageError, match=r"model\.ckpt\.index: is .*; copy the checkpoint once more"):
        TensorBundle(kinds).read("float32")


def test_a_changed_number_is_noticed_and_its_tensor_named(kinds: Path) -> None:
    bundle = TensorBundle(kinds)
    change(kinds.with_name("model.ckpt.data-00000-of-00001"), bundle._entries["float32"].offset + 5)
    assert bundle.read("float64").tolist() == VALUES
    with pytest.raises(UsageError, match=r"data-00000-of-00001: is damaged: the checksum of float32 does not match"):
        bundle.read("float32")


def test_what_breaks_off_is_named(kinds: Path) -> None:
    numbers, index = kinds.with_name("model.ckpt.data-00000-of-00001"), kinds.with_name("model.ckpt.index")
    numbers.write_bytes(numbers.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"data-00000-of-00001: is damaged: it ends before \w+ does; copy"):
        TensorBundle(kinds)
    numbers.unlink()
    with pytest.raises(UsageError, match=r"data-00000-of-00001: is missing; copy"):
        TensorBundle(kinds)
    for length in (0, 20, 100, 291):
        index.write_bytes((DATA / "kinds" / "model.ckpt.index").read_bytes()[:length])
        with pytest.raises(UsageError, match=r"model\.ckpt\.index: is no index of a TensorFlow checkpoint"):
            TensorBundle(kinds)


def test_pieces_of_a_partitioned_tensor_are_not_taken_for_it() -> None:
    bundle = TensorBundle(DATA / "partitioned" / "model.ckpt")
    assert bundle.shape("model/wte") == (300, 8)
    assert all(name.startswith("model/") for name in bundle.names)
    with pytest.raises(UsageError, match="model/wte is a partitioned tensor"):
        bundle.read("model/wte")


def test_bytes_that_are_no_message_are_damage() -> None:
    assert varint(b"\xac\x02", 0) == (300, 2)
    assert list(fields(b"\x08\x96\x01\x12\x02hi\x1d\x01\x00\x00\x00")) == [(1, 150), (2, b"hi"), (3, 1)]
    for message in (b"\x80", b"\x80" * 11, b"\x12\x05hi", b"\x0b", b"\x1d\x00"):
        with pytest.raises(Damaged):
            list(fields(message))
