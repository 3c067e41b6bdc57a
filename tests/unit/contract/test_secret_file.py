"""Secrets in files: drawn once for all, whole or not there, never short."""

from __future__ import annotations

import multiprocessing
import os
import secrets
from pathlib import Path

import pytest

from common.private_files import UnreadableFile, is_secret, make_secret, read_secret
from contract.settings import Settings

SIZE = 24
DAMAGED = [b"", b"\n", b"short", b"\0" * 32, b"a" * 31, b"\xff" * 40, b"with a blank in its middle, as texts have",
           b"a" * 33]  # fmt: skip


@pytest.mark.parametrize("size", [16, 24, 32, 33, 64])
def test_what_is_drawn_is_a_secret_and_half_of_it_is_none(size: int) -> None:
    drawn = secrets.token_urlsafe(size)
    assert is_secret(drawn, size) and not is_secret(drawn[:-2], size) and not is_secret(drawn, size + 1)


def test_it_is_drawn_once_and_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        drawn = make_secret(tmp_path / "key", SIZE)
    finally:
        os.umask(before)
    assert make_secret(tmp_path / "key", SIZE) == read_secret(tmp_path / "key", SIZE) == drawn
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert not (tmp_path / "key.part").exists()


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_one_is_made_anew_and_whole(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    assert read_secret(file, SIZE) is None
    made = make_secret(file, SIZE)
    assert is_secret(made, SIZE) and read_secret(file, SIZE) == made


def test_a_part_that_was_left_open_to_others_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "key.part").write_text("half")
    (tmp_path / "key.part").chmod(0o644)
    made = make_secret(tmp_path / "key", SIZE)
    assert (tmp_path / "key").read_text() == made
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(UnreadableFile, match="key: cannot be read"):
        read_secret(tmp_path / "key", SIZE)


def _asked(home: str) -> str:
    return Settings(home=Path(home)).redis_password


@pytest.mark.parametrize("content", [None, b"", b"\0" * 32])
def test_processes_that_ask_at_once_agree(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "redis").mkdir()
        (tmp_path / "redis" / "password").write_bytes(content)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        drawn = set(pool.map(_asked, [str(tmp_path)] * 32))
    assert len(drawn) == 1 and is_secret(drawn.pop(), SIZE)
